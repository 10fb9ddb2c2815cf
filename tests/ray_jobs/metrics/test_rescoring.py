"""Which stored scores a second request takes, and which captions it scores again."""

from pathlib import Path
from typing import Any

import pytest
from scored_images import CAPTIONS, GOLDEN, NAME, make_answer
from stored_captions import write_captions, write_golden

from ray_jobs.contract.artifacts import Manifest
from ray_jobs.contract.spec import Spec
from ray_jobs.judge import rubric
from ray_jobs.metrics import run as scoring
from ray_jobs.metrics import score_part as part
from ray_jobs.metrics.text import count_tables
from ray_jobs.storage import manifests, objects, parts


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
