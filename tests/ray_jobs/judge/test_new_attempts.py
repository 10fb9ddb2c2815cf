"""Failed questions are asked again: by a forced run, by another run, after an INCOMPLETE verdict; once per attempt."""

from pathlib import Path
from typing import Any

import pytest
from endpoint_cases import SIX, answer_badly, answer_well, read_failures, read_judgements
from judge_endpoint import Reply, answer_reply, error_reply, find_caption, serve_endpoint
from judge_inputs import make_judge_spec, write_judge_inputs

from ray_jobs.contract.artifacts import Verdict
from ray_jobs.judge.run import run_judge, start_new_attempt
from ray_jobs.storage import manifests, object_listing, objects

pytestmark = pytest.mark.usefixtures("judge_key")


def test_a_failure_is_asked_again_by_another_run_and_by_a_forced_one(tmp_path: Path) -> None:
    with serve_endpoint(answer_badly(2, error_reply(400))) as endpoint:
        spec = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url), SIX)
        run_judge(spec, [spec.caption_id])
        assert read_failures(spec) == {"image-2": "judge-request-rejected"}
        endpoint.behave = answer_well
        endpoint.asked.clear()
        forced_spec = spec.model_copy(update={"force": "manual"})
        run_judge(forced_spec, [forced_spec.caption_id])
        assert [find_caption(text) for text in endpoint.texts()] == ["caption 2"]
        assert read_failures(spec) == {}

        endpoint.behave = answer_badly(3, error_reply(400))
        other = write_judge_inputs(
            make_judge_spec(str(tmp_path), endpoint.url, "step-2"), SIX | {"image-5": "caption 3"}
        )
        run_judge(other, [other.caption_id])
        assert read_failures(other) == {"image-5": "judge-request-rejected"}
        endpoint.behave = answer_well
        third = write_judge_inputs(
            make_judge_spec(str(tmp_path), endpoint.url, "step-3"), SIX | {"image-5": "caption 3"}
        )
        run_judge(third, [third.caption_id])
        assert read_failures(third) == read_failures(other) == {}


def test_every_question_is_asked_again_with_another_prompt_and_none_with_the_same(tmp_path: Path) -> None:
    with serve_endpoint(answer_well) as endpoint:
        spec = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url), SIX)
        run_judge(spec, [spec.caption_id])
        endpoint.asked.clear()
        run_judge(spec, [spec.caption_id])
        assert endpoint.asked == []
        reworded = make_judge_spec(str(tmp_path), endpoint.url, prompt="Rate this: {caption}")
        assert (reworded.captions_uri, reworded.judge_uri) == (spec.captions_uri, spec.judge_uri)
        totals = run_judge(reworded, [reworded.caption_id])
        assert (totals.questions, totals.answered, totals.cached) == (6, 6, 0)
        assert sorted(map(find_caption, endpoint.texts())) == sorted(SIX.values())
        assert all(text.startswith("Rate this: ") for text in endpoint.texts())


def test_a_forced_request_keeps_its_totals_beside_those_that_stand(tmp_path: Path) -> None:
    with serve_endpoint(answer_badly(2, error_reply(400))) as endpoint:
        spec = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url), SIX)
        run_judge(spec, [spec.caption_id])
        before = objects.read(f"{spec.run_uri}/judge.json")
        endpoint.behave = answer_well
        forced_spec = spec.model_copy(update={"force": "manual"}).with_folders({}, "forced/manual/1")
        run_judge(forced_spec, [forced_spec.caption_id])
        assert objects.read(f"{spec.run_uri}/judge.json") == before
        assert objects.read(f"{spec.run_uri}/forced/manual/1/judge.json") != before


def test_a_baseline_whose_scores_are_complete_is_asked_again_about_what_failed(tmp_path: Path) -> None:
    with serve_endpoint(answer_badly(2, error_reply(429))) as endpoint:
        spec = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url), SIX)
        run_judge(spec, [spec.caption_id])
        assert read_failures(spec) == {"image-2": "judge-rate-limit"}
        captions = manifests.require_manifest(spec.captions_uri, "caption")
        objects.write(f"{spec.scores_uri}/manifest.json", captions.model_dump_json().encode())
        objects.write(f"{spec.run_uri}/verdict.json", verdict("PASS"))
        later = write_judge_inputs(
            make_judge_spec(str(tmp_path), endpoint.url, "step-2"), {name: f"{text}!" for name, text in SIX.items()}
        )
        endpoint.asked.clear()
        endpoint.behave = answer_well
        totals = run_judge(later, [later.caption_id, spec.caption_id])
        assert sorted(map(find_caption, endpoint.texts())) == sorted(
            ["caption 2", *(f"{text}!" for text in SIX.values())]
        )
        assert (totals.questions, totals.answered, totals.failed) == (12, 12, {})
        assert read_failures(spec) == read_failures(later) == {}


def verdict(outcome: Any) -> bytes:
    return Verdict(outcome=outcome, reason="as told", baseline=None, alpha=0.01).model_dump_json().encode()


@pytest.mark.parametrize("force", [None, "manual"])
def test_an_incomplete_run_is_asked_again_about_its_own_failures_and_nothing_twice_in_an_attempt(
    tmp_path: Path, force: str | None
) -> None:
    """Two verdicts with the same outcome: each starts a new attempt."""
    with serve_endpoint(answer_badly(2, error_reply(500))) as endpoint:
        spec = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url, tries=1), SIX).model_copy(
            update={"force": force}
        )
        run_judge(spec, [spec.caption_id])
        for outcome, again in (("PASS", 0), ("FAIL", 0), ("INCONCLUSIVE", 0), ("INCOMPLETE", 1), ("INCOMPLETE", 1)):
            objects.write(f"{spec.run_uri}/verdict.json", verdict(outcome))
            endpoint.asked.clear()
            start_new_attempt(spec)
            assert objects.exists(f"{spec.run_uri}/verdict.json") == (not again)
            for _ in range(3):  # as after a kill before the verdict
                totals = run_judge(spec, [spec.caption_id])
                assert (totals.questions, totals.answered, sum(totals.failed.values())) == (6, 5, 1)
                start_new_attempt(spec)
            assert [find_caption(text) for text in endpoint.texts()].count("caption 2") == again
        objects.write(f"{spec.run_uri}/verdict.json", verdict("INCOMPLETE"))
        start_new_attempt(spec)
        endpoint.behave = answer_well
        totals = run_judge(spec, [spec.caption_id])
        assert (totals.answered, totals.failed, totals.run_usage.questions, totals.cached) == (6, {}, 1, 5)
    assert read_failures(spec) == {}


@pytest.mark.parametrize("dies_at", range(5))
def test_a_kill_while_a_run_is_reopened_changes_nothing_that_counts(
    tmp_path: Path, dies_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_endpoint(answer_badly(2, error_reply(500))) as endpoint:
        spec = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url, tries=1), SIX)
        run_judge(spec, [spec.caption_id])
        for name in ("verdict.json", "preference/manifest.json", "preference/parts/part-00000.parquet"):
            objects.write(f"{spec.run_uri}/{name}", verdict("INCOMPLETE"))
        real, deleted = objects.delete, 0

        def delete(uri: str) -> None:
            nonlocal deleted
            if deleted == dies_at:
                raise KeyboardInterrupt
            deleted += 1
            real(uri)

        with monkeypatch.context() as patched:
            patched.setattr(objects, "delete", delete)
            with pytest.raises(KeyboardInterrupt):
                start_new_attempt(spec)
        assert objects.exists(f"{spec.run_uri}/verdict.json")
        start_new_attempt(spec)
        assert {entry.key for entry in object_listing.iterate_entries(spec.run_uri)} == {"attempt"}
        endpoint.behave = answer_well
        assert run_judge(spec, [spec.caption_id]).answered == 6


def test_half_of_the_answers_missing_is_half_missing(tmp_path: Path) -> None:
    many = {f"image-{number:02d}": f"caption {number}" for number in range(20)}

    def half(text: str, before: int) -> Reply:
        return answer_reply(score=3) if int(find_caption(text).split()[1]) % 2 else error_reply(500)

    with serve_endpoint(half) as endpoint:
        spec = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url, tries=1, concurrency=8), many)
        totals = run_judge(spec, [spec.caption_id])
    assert (totals.answered, totals.failed) == (10, {"judge-server-error": 10})
    assert {judgement.values["judge"] for judgement in read_judgements(spec).values() if not judgement.failure} == {3.0}
