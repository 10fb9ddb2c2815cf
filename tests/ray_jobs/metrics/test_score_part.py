"""Scoring: the rows of a part, and the sums over them."""

import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import stage_jobs
import tiny_clip
from samples import checkpoint_files, draw_picture, encode_image, make_baseline, make_spec
from stored_captions import write_captions, write_golden

from ray_jobs.checkpoints import inspect
from ray_jobs.contract.artifacts import Manifest, Part, Scores
from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.judge import rubric
from ray_jobs.judge.rubric import Judgement
from ray_jobs.metrics import run as scoring
from ray_jobs.metrics import score_part as part
from ray_jobs.metrics.clip.model import ClipModel
from ray_jobs.metrics.clip.similarity import compute_scores as clip_scores
from ray_jobs.metrics.registry import BUILT_IN
from ray_jobs.metrics.text import corpus_counts, count_tables
from ray_jobs.runtime.ray_dataset import SMALL_ROWS
from ray_jobs.storage import manifests, objects, parts, s3_client

JUDGED: dict[str, Any] = {"judge__kind": "vllm", "judge__model": "/m", "judge__criteria": ["colour", "shape"]}
NAME = "part-00000"
MEASURE_PID = """
import os
from ray_jobs.metrics import Metric
METRIC = Metric("pid", "process", +1, (0, 1e9), measure=lambda caption: os.getpid())
"""
GOLDEN: list[dict[str, Any]] = [
    {"image_id": "a", "references": ["a dot"], "label": "dot, spot"},
    {"image_id": "b", "references": ["a line"], "label": "line"},
    {"image_id": "c", "references": [], "label": None},
    {"image_id": "d", "references": ["a box"], "label": "box"},
]
CAPTIONS: list[dict[str, Any]] = [
    {"image_id": "a", "caption": "A dot.", "tokens": 4},
    {"image_id": "b", "caption": "a box", "finish_reason": "length", "tokens": 8},
    {"image_id": "c", "caption": "", "tokens": 1},
    {"image_id": "d", "failure": "engine-error", "detail": "too long"},
]


def make_answer(colour: bool, shape: bool) -> str:
    return json.dumps({"rationale": "so", "colour": colour, "shape": shape})


@pytest.fixture
def captioned_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spec:
    """Four images: right, wrong with a useless answer, without references, without a caption."""
    spec = make_spec(root=str(tmp_path), **JUDGED)
    write_golden(spec, GOLDEN)
    write_captions(spec, CAPTIONS)
    answers = {
        "a": rubric.parse_answer(spec.suite.judge, make_answer(True, False), None),
        "b": rubric.parse_answer(spec.suite.judge, "no JSON", None),
        "c": rubric.parse_answer(spec.suite.judge, None, "engine-error"),
    }
    monkeypatch.setattr(part, "load_judgements", lambda spec, caption_id, part: answers)
    return spec


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


@pytest.fixture
def two_parts(captioned_spec: Spec) -> Spec:
    """The same images in two parts, for `scoring.score` itself."""
    for uri in (captioned_spec.golden_uri, captioned_spec.captions_uri):
        manifests.clear_stage(uri, "rows")
    write_golden(captioned_spec, GOLDEN, 2)
    write_captions(captioned_spec, CAPTIONS, 2)
    count_tables.open_table.cache_clear()
    return captioned_spec


def force_captions(spec: Spec, captions: list[dict[str, Any]], token: str) -> None:
    """Replace captions as `force` does. Each job is a process of its own, so no table is mapped yet."""
    manifests.clear_stage(spec.captions_uri, token)
    write_captions(spec, captions, 2)
    count_tables.open_table.cache_clear()


def rows_of(manifest: Manifest, spec: Spec, by: Manifest | None = None) -> dict[str, dict[str, Any]]:
    """The rows of the current scores, or those of a manifest."""
    rows = [row for part in manifest.parts for row in parts.read(spec.scores_uri, part.name, manifest=by).to_pylist()]
    return {row["image_id"]: row for row in rows}


def stamps(spec: Spec) -> dict[str, int]:
    return {
        name: Path(manifests.uri_of_part(spec.scores_uri, name)).stat().st_mtime_ns
        for name in manifests.list_part_names(spec.scores_uri)
    }


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


ANEW = [*CAPTIONS[:2], CAPTIONS[2] | {"caption": "A dot."}, CAPTIONS[3]]


@pytest.mark.parametrize("remaining", ["all", "no manifest", "a manifest that came late"])
def test_scores_of_other_captions_are_computed_again(two_parts: Spec, remaining: str) -> None:
    """For every scoring id, because only the scoring id of the forced request would otherwise notice."""
    old = scoring.score_captions(two_parts, two_parts.caption_id)
    assert rows_of(old, two_parts)["a"]["collapse"] == 0
    manifest = f"{two_parts.scores_uri}/manifest.json"
    late = objects.read(manifest)
    force_captions(two_parts, ANEW, "again")
    if remaining == "no manifest":
        objects.delete(manifest)
    if remaining == "a manifest that came late":
        scoring.score_captions(two_parts, two_parts.caption_id)
        objects.write(manifest, late)
    rows = rows_of(scoring.score_captions(two_parts, two_parts.caption_id), two_parts)
    assert (rows["c"]["characters"], rows["a"]["collapse"]) == (6, 0.5)
    force_captions(two_parts, CAPTIONS, "and back")
    again = scoring.score_captions(two_parts, two_parts.caption_id)
    assert again.parts == old.parts
    assert rows_of(again, two_parts)["a"]["collapse"] == 0


def test_equal_captions_of_another_run_keep_their_scores(two_parts: Spec) -> None:
    scoring.score_captions(two_parts, two_parts.caption_id)
    before = stamps(two_parts)
    force_captions(two_parts, CAPTIONS, "again")
    scoring.score_captions(two_parts, two_parts.caption_id)
    assert stamps(two_parts) == before


def test_a_retried_forced_run_continues(two_parts: Spec) -> None:
    forced_spec = two_parts.model_copy(update={"force": "once more"})
    scoring.score_captions(two_parts, two_parts.caption_id)
    before = stamps(two_parts)
    force_captions(two_parts, ANEW, "once more")
    folder = manifests.stage_folder_of(scoring.score_captions(forced_spec, forced_spec.caption_id))
    own_folder = forced_spec.with_folders({forced_spec.caption_id: folder})
    first = stamps(own_folder)
    objects.delete(f"{own_folder.scores_uri}/manifest.json")
    assert manifests.stage_folder_of(scoring.score_captions(forced_spec, forced_spec.caption_id)) == folder
    assert stamps(own_folder) == first
    assert stamps(two_parts) == before


@pytest.mark.parametrize("complete", [True, False])
def test_what_the_judge_has_answered_since_is_scored_again(
    two_parts: Spec, complete: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = scoring.score_captions(two_parts, two_parts.caption_id)
    assert old.lost == {"judge-engine-error": 1, "judge-invalid-answer": 1, "no-caption": 1}
    before = stamps(two_parts)
    if not complete:
        objects.delete(f"{two_parts.scores_uri}/manifest.json")
    assert scoring.score_captions(two_parts, two_parts.caption_id).parts == old.parts
    assert stamps(two_parts) == before, "asked again it failed again: nothing is made twice"
    if not complete:
        objects.delete(f"{two_parts.scores_uri}/manifest.json")
    answers = {
        "a": rubric.parse_answer(two_parts.suite.judge, make_answer(True, False), None),
        "b": rubric.parse_answer(two_parts.suite.judge, make_answer(True, True), None),
        "c": rubric.parse_answer(two_parts.suite.judge, None, "engine-error"),
    }
    monkeypatch.setattr(part, "load_judgements", lambda spec, caption_id, part: answers)
    new = scoring.score_captions(two_parts, two_parts.caption_id)
    assert new.lost == {"judge-engine-error": 1, "no-caption": 1}
    assert rows_of(new, two_parts)["b"]["judge"] == 1
    assert manifests.load_manifest(two_parts.scores_uri) == new
    if complete:
        assert rows_of(old, two_parts, old)["b"]["judge"] is None, "a reader of the old scores lost them"
    old_parts, again = ({part.name: part.blake3 for part in manifest.parts} for manifest in (old, new))
    assert [name for name in old_parts if old_parts[name] != again[name]] == [NAME]
    assert scoring.score_captions(two_parts, two_parts.caption_id) == new


def test_complete_scores_without_failures_of_the_judge_cost_no_look(
    two_parts: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine = rubric.parse_answer(two_parts.suite.judge, make_answer(True, False), None)
    monkeypatch.setattr(part, "load_judgements", lambda spec, caption_id, part: dict.fromkeys("abc", fine))
    manifest = scoring.score_captions(two_parts, two_parts.caption_id)
    monkeypatch.delattr(part, "load_judgements")
    assert scoring.score_captions(two_parts, two_parts.caption_id) == manifest


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


# --- on Ray ---------------------------------------------------------------------------------------------------------


def write_many(spec: Spec, images: int, rows: int) -> None:
    draw = random.Random(1)
    words = [f"w{number}" for number in range(200)]

    def text() -> str:
        return " ".join(draw.choices(words, range(200, 0, -1), k=draw.randint(3, 12)))

    ids = [f"{number:05d}" for number in range(images)]
    write_golden(
        spec,
        [{"image_id": image_id, "references": [text(), text()], "label": draw.choice(words)} for image_id in ids],
        rows,
    )
    write_captions(spec, [{"image_id": image_id, "caption": text()} for image_id in ids], rows)


@pytest.mark.integration
@pytest.mark.parametrize("images", [4000, 6000], ids=["by the driver", "by Ray Data"])
def test_killed_and_resumed_it_is_what_one_go_makes(tmp_path: Path, on_cluster: object, images: int) -> None:
    """Every part is scored once, and the bytes equal those of an undisturbed run."""
    assert (images > SMALL_ROWS) == (images == 6000)
    one_part, cut = (make_spec(root=str(tmp_path / name)) for name in ("whole", "cut"))
    for spec in (one_part, cut):
        write_many(spec, images, images // 200)
        objects.write(spec.uri, spec.model_dump_json().encode())
    stage_jobs.run_stage("evaluate", one_part)
    process = stage_jobs.start_stage("evaluate", cut)
    threading.Thread(target=process.stdout.read, daemon=True).start()  # type: ignore[union-attr]
    stage_jobs.wait_until(
        lambda: len(manifests.list_part_names(cut.scores_uri)) >= 20 or process.poll() is not None, 300
    )
    process.kill()
    process.wait()
    time.sleep(1)
    before = stage_jobs.take_snapshot(f"{cut.scores_uri}/parts")
    assert not objects.exists(f"{cut.scores_uri}/manifest.json")
    assert 20 <= len(before) < 200
    stage_jobs.run_stage("evaluate", cut)
    after = stage_jobs.take_snapshot(f"{cut.scores_uri}/parts")
    assert {key: after[key] for key in before} == before
    assert stage_jobs.hash_parts(cut.scores_uri) == stage_jobs.hash_parts(one_part.scores_uri)
    for uri in (corpus_counts.references_uri, lambda spec: corpus_counts.captions_uri(spec, spec.caption_id)):
        first, other = (
            {key: sha for key, (sha, _) in stage_jobs.take_snapshot(uri(spec)).items()} for spec in (one_part, cut)
        )
        assert first == other


@pytest.mark.integration
def test_the_driver_and_ray_data_write_the_same_scores(
    tmp_path: Path, on_cluster: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, on_ray = (make_spec(root=str(tmp_path / name)) for name in ("here", "on-ray"))
    for spec in (here, on_ray):
        write_many(spec, 6000, 500)
        objects.write(spec.uri, spec.model_dump_json().encode())
    stage_jobs.run_stage("evaluate", on_ray)
    monkeypatch.setattr(scoring, "SMALL_ROWS", 6000)
    manifest = scoring.score_captions(here, here.caption_id)
    assert manifest.parts == manifests.require_manifest(on_ray.scores_uri, "evaluate").parts
    assert manifest.details["languages"] == manifests.require_manifest(on_ray.scores_uri, "x").details["languages"]
    assert stage_jobs.hash_parts(here.scores_uri) == stage_jobs.hash_parts(on_ray.scores_uri)


@pytest.mark.integration
def test_a_teams_own_metric_measures_in_a_ray_worker(tmp_path: Path, on_cluster: object) -> None:
    """Of a small set, too, of which the driver else scores all parts itself."""
    spec = make_spec(root=str(tmp_path)).model_copy(update={"own_metrics": {"pid": MEASURE_PID}})
    write_many(spec, 40, 4)
    objects.write(spec.uri, spec.model_dump_json().encode())
    driver = Path(__file__).with_name("score_captions.py")
    run = subprocess.run([sys.executable, driver, spec.uri], capture_output=True, text=True, check=True)
    measured = {int(row["pid"]) for row in stage_jobs.read_rows(spec.scores_uri)}
    assert measured
    assert int(run.stdout.splitlines()[-1]) not in measured


@pytest.mark.integration
def test_on_s3_the_scores_are_those_of_a_directory(tmp_path: Path, on_cluster: object) -> None:
    s3_client.get_client().create_bucket(Bucket="scores")
    local, remote = make_spec(root=str(tmp_path)), make_spec(root="s3://scores/root")
    for spec in (local, remote):
        write_many(spec, 200, 20)
        objects.write(spec.uri, spec.model_dump_json().encode())
        stage_jobs.run_stage("evaluate", spec)
    assert stage_jobs.hash_parts(remote.scores_uri) == stage_jobs.hash_parts(local.scores_uri)


@pytest.mark.integration
def test_clips_scores_are_merged_into_the_rows(tmp_path: Path, on_cluster: object) -> None:
    clip = inspect.resolve(str(tiny_clip.save_tiny_clip(tmp_path / "clip")))
    spec = make_spec(root=str(tmp_path / "root"), metrics__clip=clip.uri).model_copy(update={"clip": clip})
    golden = [image | {"image": encode_image(draw_picture(number))} for number, image in enumerate(GOLDEN)]
    write_golden(spec, golden, 2)
    write_captions(spec, CAPTIONS, 2)
    objects.write(spec.uri, spec.model_dump_json().encode())
    stage_jobs.run_stage("evaluate", spec)
    rows = stage_jobs.read_rows(spec.scores_uri)
    model = ClipModel(tmp_path / "clip", clip.uri)
    images = model.embed_images([image["image"] for image in golden])
    texts, references = model.embed_texts(["A dot.", "a box", ""]), model.embed_texts(["a dot", "a line"])
    expected: list[dict[str, Any]] = [
        clip_scores(texts[0] @ images[0], [texts[0] @ references[0]]),
        clip_scores(texts[1] @ images[1], [texts[1] @ references[1]]),
        clip_scores(texts[2] @ images[2], []),
        {"clipscore": None, "refclipscore": None},
    ]
    for name in ("clipscore", "refclipscore"):
        assert [row[name] for row in rows] == [pytest.approx(values[name], abs=1e-5) for values in expected]
    scores = Scores.model_validate_json(objects.read(f"{spec.run_uri}/scores.json"))
    assert (scores.metrics["clipscore"].n, scores.metrics["clipscore"].expected) == (3, 4)
    assert (scores.metrics["refclipscore"].n, scores.metrics["refclipscore"].expected) == (2, 3)

    broken = tmp_path / "no-clip"
    objects.write(f"{broken}/config.json", json.dumps({"architectures": ["X"], "model_type": "bert"}).encode())
    for name, data in checkpoint_files().items():
        if name != "config.json":
            objects.write(f"{broken}/{name}", data)
    other = spec.model_copy(update={"clip": inspect.resolve(str(broken))})
    objects.write(other.uri, other.model_dump_json().encode())
    output = stage_jobs.run_stage("evaluate", other, expected=2)
    last = output.splitlines()[-1]
    assert f"checkpoint {broken}: " in last  # its files are tried in a confined process, before any node loads them
    assert "bad input" in last


def test_a_task_that_scores_a_part_does_not_load_the_engine() -> None:
    code = "import sys, ray_jobs.metrics.score_part; print([name for name in sys.modules if 'ray_jobs.engine' in name])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
