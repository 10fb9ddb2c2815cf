"""Fields on the page: each checkpoint's answer, the right values, and why an answer is missing, all as plain text."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from report_case import make_comparison
from samples import make_baseline, make_record, make_spec
from stored_runs import CaptionResult, Image, write_golden, write_run, write_scores

from ray_jobs.caption import SCHEMA
from ray_jobs.comparison.comparable_metrics import find_comparable_metrics
from ray_jobs.comparison.compare_runs import compare_runs
from ray_jobs.comparison.published_run import load_run
from ray_jobs.comparison.show_comparison import build_page
from ray_jobs.contract.artifacts import Scores, Verdict
from ray_jobs.contract.spec import Spec
from ray_jobs.fields.columns import NO_FIELDS, add_fields, list_column_types
from ray_jobs.report.write_report import write_report
from ray_jobs.storage import manifests, objects, parts

HOSTILE = '<script>alert(1)</script>"&'
FIELDS = {
    "properties": {
        "caption": {"type": "string"},
        "count": {"type": "integer"},
        "colour": {"type": "string"},
        "boxes": {
            "type": "array",
            "items": {"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4},
        },
    }
}
SETTINGS: dict[str, Any] = {
    "caption__fields": FIELDS,
    "dataset__truth": {"count": "n", "colour": "c"},
    "gate__metrics": {"field_count": {"margin": 0.1}},
}
IMAGES = [Image(f"{number}.png") for number in range(4)]


def make_answer(count: int, colour: str) -> str:
    return json.dumps({"caption": "a dot", "count": count, "colour": colour, "boxes": [[0, 1, 2, 3]]})


def with_fields(spec: Spec, caption_id: str, answers: list[str]) -> None:
    """Write the captions of a run again, as the caption stage writes answers with fields."""
    rows = [
        {"row": n, "text": text, "finish_reason": "stop", "failure": None, "detail": None, "image_id": f"{n}.png"}
        | dict.fromkeys(["prompt_tokens", "tokens", "arrived", "finished"], 1)
        for n, text in enumerate(answers)
    ]
    table, fits = add_fields(pa.Table.from_pylist(rows), spec.suite.caption)
    schema = pa.schema([*SCHEMA, *list_column_types(spec.suite.caption).items()])
    table = table.rename_columns({"text": "caption"}).select(schema.names).cast(schema)
    uri = spec.captions_uri_of(caption_id)
    objects.delete(f"{uri}/manifest.json")
    objects.delete(manifests.uri_of_part(uri, "part-00000"))
    part = parts.write(uri, "part-00000", table, {"lost": {}, "fields": fits})
    manifests.commit(uri, manifests.build_manifest("captions", caption_id, [part], len(answers), {}, {}))


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Spec, Spec]:
    """A baseline and a candidate, whose first answer is hostile and whose second does not fit."""
    old = make_spec(root=str(tmp_path), fingerprint="b" * 16, called="step-1", **SETTINGS)
    new = make_spec(root=str(tmp_path), called="step-2", **SETTINGS)
    new = new.model_copy(update={"baseline": make_baseline(old)})
    write_golden(new, IMAGES)
    right = [CaptionResult(values={"field_count": 1.0, "fields_valid": 1.0})] * 4
    wrong = [CaptionResult(values={"field_count": 0.0, "fields_valid": float(n != 1)}) for n in range(4)]
    for spec, answers in ((old, right), (new, wrong)):
        manifest = write_run(spec, spec.caption_id, IMAGES, answers)
        write_scores(spec, manifest, answers)
    with_fields(new, old.caption_id, [make_answer(3, "red")] * 4)
    with_fields(
        new, new.caption_id, [make_answer(5, HOSTILE), '{"count": ', make_answer(6, "blue"), make_answer(7, "blue")]
    )
    add_truth(new, [{"count": 3, "colour": HOSTILE}] * 4)
    return old, new


def add_truth(spec: Spec, truths: list[dict[str, Any]]) -> None:
    table = parts.read(spec.golden_uri, "part-00000")
    column = pa.array([json.dumps(truth) for truth in truths], pa.string())
    for uri in (manifests.uri_of_part(spec.golden_uri, "part-00000"), f"{spec.golden_uri}/manifest.json"):
        objects.delete(uri)
    part = parts.write(spec.golden_uri, "part-00000", table.append_column("truth", column), {})
    manifests.commit(spec.golden_uri, manifests.build_manifest("golden", spec.golden_id, [part], 4, {}, {}))


def assert_shown(html: str) -> None:
    assert HOSTILE not in html
    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    for snippet in (
        "<dt>count</dt>",
        "[[0, 1, 2, 3]]",
        "does not fit the schema",
        "not-json: the answer is not JSON",
        "truth",
    ):
        assert snippet in html, snippet


def test_the_report_shows_the_fields_of_its_examples(runs: tuple[Spec, Spec]) -> None:
    _, new = runs
    scores = objects.read(f"{new.run_uri}/scores.json")
    verdict = Verdict(
        outcome="FAIL",
        reason="field_count 1.000 worse",
        baseline=new.baseline,
        alpha=0.0027,
        comparisons=(make_comparison("field_count", -1.0),),
    )
    assert_shown(objects.read(write_report(new, Scores.model_validate_json(scores), verdict)).decode())


def test_the_page_of_a_comparison_shows_fields(runs: tuple[Spec, Spec]) -> None:
    for spec in runs:
        objects.write(f"{spec.run_uri}/record.json", make_record(spec).model_dump_json().encode())
    old, new = (load_run(spec.run_uri) for spec in runs)
    metrics, left_out = find_comparable_metrics(old, new)
    assert set(metrics) == {"field_count", "fields_valid"}
    assert_shown(build_page(old, new, compare_runs(old, new, metrics), left_out))


def test_every_other_column_of_captions_is_known() -> None:
    assert {*SCHEMA.names, "answer", "invalid_fields"} == NO_FIELDS
