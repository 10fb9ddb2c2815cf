"""Scoring without Ray: a part's rows, and the sums over them."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from making import spec

from ray_jobs import evaluate, parts
from ray_jobs.caption import SCHEMA
from ray_jobs.contract import Manifest, Spec

JUDGED: dict[str, Any] = {"judge__kind": "vllm", "judge__model": "/m", "judge__criteria": ["colour", "shape"]}


def said(colour: bool, shape: bool) -> str:
    return json.dumps({"rationale": "so", "colour": colour, "shape": shape})


@pytest.fixture
def made(tmp_path: Path) -> Spec:
    """Four images: right, wrong with a useless answer, without references, without a caption."""
    planned = spec(root=str(tmp_path), **JUDGED)
    golden = [("a", ["a dot"]), ("b", ["a line"]), ("c", []), ("d", ["a box"])]
    parts.write(
        planned.golden_uri,
        "part-00000",
        pa.table({"image_id": [one for one, _ in golden], "references": [texts for _, texts in golden]}),
        {"lost": {}},
    )
    captions = [
        {"image_id": "a", "caption": "A dot.", "finish_reason": "stop", "tokens": 4},
        {"image_id": "b", "caption": "a box", "finish_reason": "length", "tokens": 8},
        {"image_id": "c", "caption": "", "finish_reason": "stop", "tokens": 1},
        {"image_id": "d", "failure": "engine-error", "detail": "too long"},
    ]
    table = pa.Table.from_pylist(captions, schema=SCHEMA)
    parts.write(planned.captions_uri, "part-00000", table, {"lost": {"engine-error": 1}})
    answers = [
        {"image_id": "a", "text": said(True, False), "failure": None},
        {"image_id": "b", "text": "no JSON", "failure": None},
        {"image_id": "c", "text": None, "failure": "engine-error"},
    ]
    parts.write(planned.run_uri, "part-00000", pa.Table.from_pylist(answers), {}, "judge")
    return planned


def scored(made: Spec) -> dict[str, dict[str, Any]]:
    evaluate._score_part({"part": "part-00000"}, made)
    return {row["image_id"]: row for row in evaluate.load_scores(made.run_uri, ["part-00000"]).to_pylist()}


def test_every_image_has_its_row_of_values_or_the_reason_why_not(made: Spec) -> None:
    rows = scored(made)
    assert list(rows) == ["a", "b", "c", "d"]
    right, wrong, bare, lost = rows.values()
    assert (right["characters"], right["words"], right["tokens"], right["exact_match"]) == (6, 2, 4, 1)
    assert (right["judge"], right["judge_colour"], right["judge_shape"], right["failure"]) == (0.5, 1, 0, None)
    assert (wrong["truncated"], wrong["exact_match"], wrong["judge"]) == (1, 0, None)
    assert (wrong["failure"], wrong["rationale"]) == ("judge-invalid-answer", "no JSON")
    assert (bare["empty"], bare["exact_match"], bare["chrf"], bare["judge"]) == (1, None, None, None)
    assert bare["failure"] == "judge-engine-error"
    values = set(lost) - {"image_id", "references", "failure"}
    assert lost["failure"] == "no-caption"
    assert {lost[name] for name in values} == {None}


def test_the_sums_leave_out_what_is_missing(made: Spec) -> None:
    scored(made)
    (part,) = [parts.describe("part-00000", Path(parts.uri_of_part(made.run_uri, "part-00000", "scores")).read_bytes())]
    assert part.lost == {"judge-engine-error": 1, "judge-invalid-answer": 1, "no-caption": 1}
    manifest = parts.summed("scores", made.run_id, [part], 4, {}, {})
    found = evaluate.summed_up(made, manifest, evaluate.load_scores(made.run_uri, ["part-00000"]))
    assert (found.images, found.scored, found.failed) == (4, 1, part.lost)
    assert (found.metrics["judge"].n, found.metrics["judge"].expected, found.metrics["judge"].mean) == (1, 4, 0.5)
    assert (found.metrics["exact_match"].n, found.metrics["exact_match"].mean) == (2, 0.5)
    assert found.metrics["exact_match"].expected == 3  # the images that have references
    assert (found.metrics["tokens"].n, found.metrics["tokens"].mean) == (3, pytest.approx(13 / 3))


def test_a_part_without_answers_is_silent_not_zero(made: Spec) -> None:
    Path(parts.uri_of_part(made.run_uri, "part-00000", "judge")).unlink()
    rows = scored(made)
    assert [row["failure"] for row in rows.values()] == ["judge-silent"] * 3 + ["no-caption"]
    assert {row["judge"] for row in rows.values()} == {None}


def test_scores_made_before_are_kept(made: Spec) -> None:
    scored(made)
    path = Path(parts.uri_of_part(made.run_uri, "part-00000", "scores"))
    before = path.stat().st_mtime_ns
    scored(made)
    assert path.stat().st_mtime_ns == before


def test_the_judge_is_asked_about_captions_only(made: Spec) -> None:
    assert [row["image_id"] for row in evaluate._captioned(made, "part-00000")] == ["a", "b", "c"]


def test_the_baselines_scores_are_found(made: Spec) -> None:
    scored(made)
    with_baseline = made.model_copy(update={"baseline": _baseline(made)})
    assert evaluate.baseline_scores(with_baseline)["image_id"].to_pylist() == ["a", "b", "c", "d"]


def _baseline(made: Spec) -> Any:
    from making import baseline

    return baseline(made)


def test_created_at_is_the_only_thing_time_changes(made: Spec) -> None:
    scored(made)
    data = Path(parts.uri_of_part(made.run_uri, "part-00000", "scores")).read_bytes()
    one, two = (parts.summed("scores", "x", [parts.describe("p", data)], 4, {}, {}) for _ in range(2))
    now = datetime.now(UTC)
    assert isinstance(one, Manifest)
    assert one.model_copy(update={"created_at": now}) == two.model_copy(update={"created_at": now})
