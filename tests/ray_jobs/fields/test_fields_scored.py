"""Scoring of fields and their truth: the rows of scores, the expected counts, and what a custom metric reads."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from samples import make_spec
from stored_captions import LocalDataset
from stored_runs import Image
from stored_runs import write_golden as write_plain_golden

from ray_jobs.caption import SCHEMA
from ray_jobs.contract.artifacts import Scores
from ray_jobs.contract.spec import Spec
from ray_jobs.fields.columns import add_fields, list_column_types
from ray_jobs.inputs.errors import InputError
from ray_jobs.metrics import run
from ray_jobs.metrics.text import count_tables
from ray_jobs.storage import manifests, objects, parts

FIELDS = {
    "properties": {
        "caption": {"type": "string"},
        "count": {"type": "integer", "minimum": 0, "maximum": 9},
        "objects": {"type": "array", "items": {"type": "string"}},
        "box": {"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4},
    }
}
BOX = [0, 0, 10, 10]
OWN = """
from ray_jobs.metrics import Metric

def measure(caption):
    return float(abs(caption.fields["count"] - caption.truth.get("count", 0)))

METRIC = Metric(name="off_by", unit="objects", direction=-1, range=(0, 9), needs="fields", measure=measure)
"""
ANSWERS: dict[str, str | None] = {
    "right": json.dumps({"caption": "a dog", "count": 2, "objects": ["dog", "ball"], "box": BOX}),
    "wrong": json.dumps({"caption": "a dog", "count": 3, "objects": ["Dog", "cat", "cow"], "box": [0, 0, 10, 5]}),
    "unfit": '{"caption": "a dog", "count": 2, "obj',
    "no caption": None,
    "no truth": json.dumps({"caption": "a dog", "count": 5, "objects": [], "box": BOX}),
}
TRUTH: dict[str, dict[str, Any]] = {
    name: {"count": 2, "objects": ["dog", "ball"], "box": BOX} for name in ("right", "wrong", "unfit", "no caption")
} | {"no truth": {"box": BOX}}


@pytest.fixture
def scored_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spec:
    monkeypatch.setattr(run, "_count_blocks", lambda count: 1)
    monkeypatch.setattr(run, "ray_dataset", LocalDataset)
    count_tables.open_table.cache_clear()
    spec = make_spec(
        root=str(tmp_path),
        caption__fields=FIELDS,
        dataset__truth={"count": "n", "objects": "o", "box": "b"},
        metrics__own=["off_by.py"],
    ).model_copy(update={"own_metrics": {"off_by": OWN}})
    write_golden(spec, TRUTH)
    write_captions(spec, ANSWERS)
    return spec


def write_golden(spec: Spec, truths: dict[str, dict[str, Any]]) -> None:
    write_plain_golden(spec, [Image(name) for name in truths], rows=len(truths))
    table = parts.read(spec.golden_uri, "part-00000")
    objects.delete(f"{spec.golden_uri}/manifest.json")
    objects.delete(manifests.uri_of_part(spec.golden_uri, "part-00000"))
    column = pa.array([json.dumps(truth) for truth in truths.values()], pa.string())
    part = parts.write(spec.golden_uri, "part-00000", table.append_column("truth", column), {})
    manifests.commit(spec.golden_uri, manifests.build_manifest("golden", spec.golden_id, [part], len(truths), {}, {}))


def write_captions(spec: Spec, answers: dict[str, str | None]) -> None:
    rows: list[dict[str, Any]] = [
        {
            "image_id": name,
            "text": text,
            "finish_reason": "length" if name == "unfit" else "stop",
            "detail": None,
            "failure": None if text else "engine-error",
            "prompt_tokens": 9,
            "tokens": 9,
            "arrived": 1.0,
            "finished": 2.0,
        }
        for name, text in answers.items()
    ]
    table, fits = add_fields(pa.Table.from_pylist(rows), spec.suite.caption)
    schema = pa.schema([*SCHEMA, *list_column_types(spec.suite.caption).items()])
    table = table.rename_columns({"text": "caption"}).select(schema.names).cast(schema)
    lost_counts = {"engine-error": 1} if None in answers.values() else {}
    part = parts.write(spec.captions_uri, "part-00000", table, {"lost": lost_counts, "fields": fits})
    manifests.commit(
        spec.captions_uri, manifests.build_manifest("captions", spec.caption_id, [part], len(answers), {}, {})
    )


def score(spec: Spec) -> tuple[dict[str, dict[str, Any]], Scores]:
    manifest = run.score_captions(spec, spec.caption_id)
    rows = parts.read(spec.scores_uri, "part-00000", manifest=manifest).to_pylist()
    return {row["image_id"]: row for row in rows}, run.summarise_scores(spec, manifest)


NAMES = ["fields_valid", "field_count", "field_objects_recall", "field_objects_precision", "field_box_iou", "off_by"]


def test_each_image_is_measured_against_its_truth(scored_spec: Spec) -> None:
    rows, _ = score(scored_spec)
    assert {name: [row[metric] for metric in NAMES] for name, row in rows.items()} == {
        "right": [1, 1, 1, 1, 1, 0],
        "wrong": [1, 0, 1 / 2, 1 / 3, 1 / 2, 1],
        "unfit": [0, 0, 0, 0, 0, None],
        "no caption": [None] * 6,
        "no truth": [1, None, None, None, 1, 5],
    }
    assert rows["no truth"]["fields_with_truth"] == ["box"]
    assert rows["right"]["words"] == 2  # of the caption, not of the JSON


def test_missing_fields_are_counted(scored_spec: Spec) -> None:
    """A failed caption is missing; an answer that does not fit is missing for a metric that needs its fields."""
    metrics = score(scored_spec)[1].metrics
    assert {name: (metrics[name].n, metrics[name].expected) for name in NAMES} == {
        "fields_valid": (4, 5),
        "field_count": (3, 4),
        "field_objects_recall": (3, 4),
        "field_objects_precision": (3, 4),
        "field_box_iou": (4, 5),
        "off_by": (3, 5),
    }
    assert metrics["fields_valid"].mean == 3 / 4
    assert metrics["field_count"].mean == 1 / 3


def test_a_suite_without_truth_has_scores_without_it(tmp_path: Path, scored_spec: Spec) -> None:
    plain = make_spec(root=str(tmp_path / "other"), caption__fields=FIELDS)
    write_plain_golden(plain, [Image(name) for name in ANSWERS], rows=len(ANSWERS))
    write_captions(plain, ANSWERS)
    rows, scores = score(plain)
    assert "fields_with_truth" not in rows["right"]
    assert [name for name in scores.metrics if name.startswith("field")] == ["fields_valid"]


def test_a_truth_that_no_answer_can_equal_ends_the_scoring_too(tmp_path: Path, scored_spec: Spec) -> None:
    spec = scored_spec.model_copy(update={"root": str(tmp_path / "other")})
    write_golden(spec, TRUTH | {"right": {"count": 99}})
    write_captions(spec, ANSWERS)
    with pytest.raises(InputError, match="image right: column 'n': count is 99, not from 0 to 9"):
        score(spec)
