"""Scoring: the rows of a part, and the sums over them."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import stage_jobs
from samples import make_baseline, make_spec
from scored_images import CAPTIONS, GOLDEN, JUDGED, NAME
from stored_captions import write_captions, write_golden

from ray_jobs.contract.artifacts import Manifest, Part, Scores
from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.judge.rubric import Judgement
from ray_jobs.metrics import run as scoring
from ray_jobs.metrics import score_part as part
from ray_jobs.metrics.registry import BUILT_IN
from ray_jobs.metrics.text import corpus_counts
from ray_jobs.storage import manifests, parts


def score(spec: Spec, names: tuple[str, ...] = (NAME,)) -> Manifest:
    """Runs the tasks of `scoring.score` in this process."""
    corpus_counts.complete_tables(spec, spec.caption_id)
    rows = [part.score_part({"part": name}, spec, spec.caption_id) for name in names]
    parts_scored = [Part.model_validate_json(row["part"]) for row in rows]
    languages = sum((Counter(json.loads(row["languages"])) for row in rows), Counter[str]())
    details = {"languages": scoring.compute_language_shares(languages)}
    return manifests.build_manifest(
        "scores", "x", parts_scored, sum(scored_part.rows for scored_part in parts_scored), {}, {}, details
    )


def score_rows(spec: Spec) -> dict[str, dict[str, Any]]:
    score(spec)
    return {row["image_id"]: row for row in parts.read(spec.scores_uri, NAME).to_pylist()}


def test_every_image_has_its_row_of_values_or_the_reason_why_not(captioned_spec: Spec) -> None:
    rows = score_rows(captioned_spec)
    assert list(rows) == ["a", "b", "c", "d"]
    right, wrong, bare, uncaptioned = rows.values()
    assert list(right) == [
        "image_id",
        "label",
        "references",
        "failure",
        "rationale",
        *part.list_score_metrics(captioned_spec),
    ]
    assert (right["characters"], right["words"], right["tokens"], right["exact_match"]) == (6, 2, 4, 1)
    assert (right["label"], right["label_hit"], right["rouge_l"]) == ("dot, spot", 1, 1)
    assert (right["judge"], right["judge_colour"], right["judge_shape"], right["failure"]) == (0.5, 1, 0, None)
    assert (wrong["truncated"], wrong["exact_match"], wrong["label_hit"], wrong["judge"]) == (1, 0, 0, None)
    assert (wrong["failure"], wrong["rationale"]) == ("judge-invalid-answer", "no JSON")
    assert (bare["empty"], bare["exact_match"], bare["chrf"], bare["label_hit"]) == (1, None, None, None)
    assert (bare["judge"], bare["failure"]) == (None, "judge-engine-error")
    values = set(uncaptioned) - {"image_id", "label", "references", "failure"}
    assert uncaptioned["failure"] == "no-caption"
    assert {uncaptioned[name] for name in values} == {None}


def test_the_sums_leave_out_what_is_missing(captioned_spec: Spec) -> None:
    manifest = score(captioned_spec)
    lost_counts = {"judge-engine-error": 1, "judge-invalid-answer": 1, "no-caption": 1}
    assert manifest.lost == lost_counts
    summary = scoring.summarise_scores(captioned_spec, manifest)
    assert (summary.images, summary.scored, summary.failed) == (4, 1, lost_counts)
    assert list(summary.metrics) == list(part.list_score_metrics(captioned_spec))
    assert (summary.metrics["judge"].n, summary.metrics["judge"].expected, summary.metrics["judge"].mean) == (1, 4, 0.5)
    assert (summary.metrics["exact_match"].n, summary.metrics["exact_match"].mean) == (2, 0.5)
    assert summary.metrics["exact_match"].expected == 3  # the images that have references
    assert summary.metrics["label_hit"].expected == 3  # the images that have a label
    assert summary.metrics["tokens"].n == 3
    assert summary.metrics["tokens"].mean == pytest.approx(13 / 3)
    assert (summary.metrics["tokens"].unit, summary.metrics["empty"].direction) == ("tokens", -1)
    assert summary.details["label_hit_by_words"] == [{"from": 0, "to": 3, "n": 2, "mean": 0.5}]
    assert summary.details["languages"] == {"unknown": 1.0}
    assert Scores.model_validate_json(summary.model_dump_json()) == summary


def test_the_most_frequent_languages_are_summarised() -> None:
    counts = Counter({"en": 5, "de": 2, "unknown": 2, "fr": 1, "it": 1, "nl": 1, "pl": 0})
    assert scoring.compute_language_shares(counts) == {
        "en": 5 / 12,
        "de": 2 / 12,
        "unknown": 2 / 12,
        "fr": 1 / 12,
        "it": 1 / 12,
    }
    assert scoring.compute_language_shares(Counter()) == {}


def test_an_image_without_an_answer_is_silent_not_zero(captioned_spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part, "load_judgements", lambda spec, caption_id, part: {})
    rows = score_rows(captioned_spec)
    assert [row["failure"] for row in rows.values()] == ["judge-silent"] * 3 + ["no-caption"]
    assert {row["judge"] for row in rows.values()} == {None}


def test_an_answer_with_what_no_metric_declares_is_left_out(
    captioned_spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Judgement({"judge": 1.0, "judge_mood": 1.0}, "so")
    monkeypatch.setattr(part, "load_judgements", lambda spec, caption_id, part: {"a": answer})
    rows = score_rows(captioned_spec)
    assert rows["a"]["judge"] == 1
    assert "judge_mood" not in rows["a"]


def test_stored_scores_are_reused(captioned_spec: Spec) -> None:
    parts_scored = score(captioned_spec)
    path = Path(manifests.uri_of_part(captioned_spec.scores_uri, NAME))
    before = path.stat().st_mtime_ns
    assert score(captioned_spec).model_copy(update={"created_at": parts_scored.created_at}) == parts_scored
    assert path.stat().st_mtime_ns == before


def test_the_same_captions_have_the_same_bytes_of_scores(captioned_spec: Spec, tmp_path: Path) -> None:
    score(captioned_spec)
    again = captioned_spec.model_copy(update={"root": str(tmp_path / "again")})
    write_golden(again, GOLDEN)
    write_captions(again, CAPTIONS)
    score(again)
    assert stage_jobs.hash_parts(again.scores_uri) == stage_jobs.hash_parts(captioned_spec.scores_uri)


def test_the_baselines_captions_are_scored_on_the_same_scale(captioned_spec: Spec) -> None:
    other = make_spec(root=captioned_spec.root, fingerprint="e" * 16, **JUDGED)
    write_captions(other, CAPTIONS)
    spec = captioned_spec.model_copy(update={"baseline": make_baseline(other)})
    corpus_counts.complete_tables(spec, other.caption_id)
    part.score_part({"part": NAME}, spec, other.caption_id)
    assert manifests.list_part_names(other.scores_uri) == {NAME}
    assert spec.scores_uri_of(other.caption_id) == other.scores_uri


def test_a_caption_of_an_image_that_the_golden_set_lacks_is_trouble(tmp_path: Path) -> None:
    spec = make_spec(root=str(tmp_path))
    write_golden(spec, GOLDEN[:2])
    write_captions(spec, CAPTIONS[:3])
    with pytest.raises(RetryableError, match="part-00000 has a caption of 'c', which its golden set lacks"):
        score(spec)


def test_no_caption_at_all(tmp_path: Path) -> None:
    spec = make_spec(root=str(tmp_path))
    write_golden(spec, GOLDEN)
    write_captions(spec, [{"image_id": image["image_id"], "failure": "engine-error"} for image in GOLDEN])
    summary = scoring.summarise_scores(spec, score(spec))
    assert (summary.scored, summary.failed) == (0, {"no-caption": 4})
    assert {(summary.n, summary.mean) for summary in summary.metrics.values()} == {(0, None)}
    assert summary.details == {"languages": {}, "label_hit_by_words": []}


def test_one_image(tmp_path: Path) -> None:
    spec = make_spec(root=str(tmp_path))
    write_golden(spec, GOLDEN[:1])
    write_captions(spec, CAPTIONS[:1])
    summary = scoring.summarise_scores(spec, score(spec))
    assert (summary.metrics["collapse"].n, summary.metrics["distinct_2"].mean, summary.metrics["cider_d"].mean) == (
        0,
        1,
        0,
    )
    low, high = summary.metrics["exact_match"].low, summary.metrics["exact_match"].high
    assert low is not None
    assert low < 0.5
    assert high == 1


@pytest.mark.slow
def test_hostile_text_is_scored_like_any_other(tmp_path: Path) -> None:
    texts = [
        "",
        "🙂" * 500,
        "狗" * 4000,
        "word " * 4000,
        "\x00\x01\x1b[31m",
        "<script>alert(1)</script>",
        "'; DROP TABLE",
        "x" * 99_999,
    ]
    spec = make_spec(root=str(tmp_path))
    write_golden(
        spec, [{"image_id": str(n), "references": [text, "a dog"], "label": text} for n, text in enumerate(texts)]
    )
    write_captions(spec, [{"image_id": str(n), "caption": text} for n, text in enumerate(texts)])
    score(spec, (NAME, "part-00001"))
    rows = [row for name in (NAME, "part-00001") for row in parts.read(spec.scores_uri, name).to_pylist()]
    assert [row["exact_match"] for row in rows] == [1] * len(texts)
    assert [row["chrf"] for row in rows[1:]] == pytest.approx([100] * (len(texts) - 1))
    for row in rows:
        for name, metric in BUILT_IN.items():
            if row[name] is not None:
                assert metric.range[0] <= row[name] <= metric.range[1] + 1e-9, (name, row[name])


def test_a_caption_too_short_for_a_metric_is_not_missing(tmp_path: Path) -> None:
    spec = make_spec(root=str(tmp_path)).model_copy(update={"synonyms": {"?": ("dot",)}})
    labels = {"a": "dot", "b": "-", "c": None, "d": "?"}
    write_golden(spec, [image | {"label": labels[str(image["image_id"])]} for image in GOLDEN])
    texts = ["a dot", "dot", "a dot on a line in a large white box"]
    captions: list[dict[str, Any]] = [
        {"image_id": name, "caption": text} for name, text in zip("abc", texts, strict=True)
    ]
    write_captions(spec, captions + CAPTIONS[3:])
    metrics = scoring.summarise_scores(spec, score(spec)).metrics
    counts = {name: (metric.n, metric.expected) for name, metric in metrics.items()}
    assert counts["language"] == (1, 2)  # with the image that has no caption, which is missing
    assert counts["distinct_2"] == (2, 3)
    assert counts["label_hit"] == (1, 2)  # "-" holds no word, "?" has a synonym that does
    assert counts["empty"] == (3, 4)


POLITE = """
from ray_jobs.metrics import Metric
METRIC = Metric("polite", "words", +1, (0, 10), measure=lambda caption: float("dot" in caption.text) if {} else 1 / 0)
"""


def test_a_teams_own_metric_is_scored_too(captioned_spec: Spec) -> None:
    spec = captioned_spec.model_copy(update={"own_metrics": {"polite": POLITE.format("True")}})
    assert spec.scores_uri != captioned_spec.scores_uri
    assert [row["polite"] for row in score_rows(spec).values()] == [1, 0, 0, None]
    assert scoring.summarise_scores(spec, score(spec)).metrics["polite"].mean == pytest.approx(1 / 3)


def test_an_own_metric_that_fails_names_itself_and_the_image(captioned_spec: Spec) -> None:
    spec = captioned_spec.model_copy(update={"own_metrics": {"polite": POLITE.format("caption.text != 'a box'")}})
    with pytest.raises(
        InputError, match=r"metric polite: image 'b': ZeroDivisionError: division by zero \(polite.py, line 3"
    ):
        score(spec)


def test_synonyms_reach_the_metric(tmp_path: Path) -> None:
    spec = make_spec(root=str(tmp_path)).model_copy(update={"synonyms": {"line": ("stroke", "box")}})
    write_golden(spec, GOLDEN)
    write_captions(spec, CAPTIONS)
    assert [row["label_hit"] for row in score_rows(spec).values()] == [1, 1, None, None]


def test_a_task_that_scores_a_part_does_not_load_the_engine() -> None:
    code = "import sys, ray_jobs.metrics.score_part; print([name for name in sys.modules if 'ray_jobs.engine' in name])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
