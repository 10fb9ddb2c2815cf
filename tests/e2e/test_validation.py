"""Validate checkpoints by hand: the verdicts, the same one again, two at once, and what cannot be validated."""

import pytest
from conftest import HERE, Stack, assert_nothing_lost, manifest, upload

pytestmark = pytest.mark.timeout(1500)


@pytest.fixture(scope="module")
def good(stack: Stack) -> tuple[str, str]:
    """The URI of the good checkpoint and the run that validated it."""
    uri = upload("step-0800", "s3://assay/by-hand/step-0800")
    run_id = stack.trigger(uri, baseline="none")
    assert stack.finish(run_id) == "success"
    return uri, run_id


def test_the_good_checkpoint_passes_and_nothing_is_lost(stack: Stack, good: tuple[str, str]) -> None:
    record = stack.record(good[1])
    assert record.verdict.outcome == "PASS"
    assert record.metrics["exact_match"].mean > 0.9
    assert_nothing_lost(record)


def test_the_same_checkpoint_again_captions_nothing(stack: Stack, good: tuple[str, str]) -> None:
    uri, first = good
    jobs = {job["submission_id"] for job in stack.ray_jobs()}
    before = manifest(f"s3://assay/root/captions/{stack.record(first).caption_id}")
    run_id = stack.trigger(uri, baseline="none")
    assert stack.finish(run_id, seconds=120) == "success"
    assert {job["submission_id"] for job in stack.ray_jobs()} == jobs
    assert manifest(f"s3://assay/root/captions/{stack.record(run_id).caption_id}") == before
    assert stack.record(run_id) == stack.record(first)


def test_two_at_once_share_one_golden_set_and_the_regressed_one_fails(stack: Stack, good: tuple[str, str]) -> None:
    suite = stack.settings.run / "shared.yaml"
    quick = HERE / "suites" / "quick.yaml"
    demo = quick.parents[3] / "demo" / "images"
    text = (
        quick.read_text().replace("name: quick", "name: shared").replace("part_rows: 64", "part_rows: 50, quality: 90")
    )
    suite.write_text(text.replace("../../../demo/images", str(demo)))
    worse = upload("step-0809", "s3://assay/by-hand/step-0809")
    runs = [stack.trigger(uri, suite=str(suite)) for uri in (good[0], worse)]
    for run_id in runs:
        stack.finish(run_id)
    better, regressed = (stack.record(run_id) for run_id in runs)
    assert better.golden_id == regressed.golden_id
    made = [job for job in stack.ray_jobs() if f"preprocess-{better.golden_id}" in job["submission_id"]]
    assert [job["status"] for job in made] == ["SUCCEEDED"]
    for record in (better, regressed):
        assert_nothing_lost(record)

    judged = stack.trigger(worse, suite=str(suite), baseline=good[0])
    assert stack.finish(judged) == "failed"
    assert stack.tasks(judged)["verdict"]["state"] == "failed"
    record = stack.record(judged)
    assert record.verdict.outcome == "FAIL"
    assert "exact_match" in record.verdict.reason


@pytest.mark.parametrize(
    ("checkpoint", "suite", "task", "line"),
    [
        ("s3://assay/by-hand/step-9999", "quick", "wait_for_checkpoint", "nothing is there"),
        ("s3://assay/by-hand/step-0800", "quikc", "plan", "did you mean 'quick'?"),
    ],
)
def test_bad_input_is_one_line_and_no_retry(
    stack: Stack, good: tuple[str, str], checkpoint: str, suite: str, task: str, line: str
) -> None:
    run_id = stack.trigger(checkpoint, suite=suite)
    assert stack.finish(run_id, seconds=180) == "failed"
    found = stack.tasks(run_id)[task]
    assert found["state"] == "failed"
    error = stack.api.last_error(run_id, task, found["try_number"])
    assert line in error
    assert "\n" not in error
    assert found["try_number"] <= 1 or task == "wait_for_checkpoint"
