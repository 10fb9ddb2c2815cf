"""Validations by hand: verdicts, the same checkpoint again, two checkpoints at once, and input errors."""

import pytest
from running_stack import Stack, assert_nothing_lost, manifest, mean, upload, wait

from ray_jobs.storage import decisions

pytestmark = pytest.mark.timeout(1500)


@pytest.fixture(scope="module")
def pair(stack: Stack) -> "Pair":
    """The URI and the run of a good and of a slightly regressed checkpoint, triggered at once."""
    uris = {name: upload(name, f"s3://assay/by-hand/{name}") for name in ("step-0800", "step-0809")}
    runs = {name: stack.trigger(uri, suite="pair", baseline="none") for name, uri in uris.items()}
    assert [stack.finish(run_id) for run_id in runs.values()] == ["success", "success"]
    return {name: (uris[name], runs[name]) for name in uris}


Pair = dict[str, tuple[str, str]]


def test_two_runs_at_once_share_one_golden_set_and_lose_no_image(stack: Stack, pair: Pair) -> None:
    good, worse = (stack.record(run_id) for _, run_id in pair.values())
    assert good.golden_id == worse.golden_id
    preprocess_jobs = [job for job in stack.ray_jobs() if f"preprocess-{good.golden_id}" in job["submission_id"]]
    assert [job["status"] for job in preprocess_jobs] == ["SUCCEEDED"]
    assert mean(good, "exact_match") > 0.9 > mean(worse, "exact_match")
    for record in (good, worse):
        assert_nothing_lost(record)


def test_the_same_checkpoint_again_captions_nothing(stack: Stack, pair: Pair) -> None:
    uri, first = pair["step-0800"]
    jobs = {job["submission_id"] for job in stack.ray_jobs()}
    before = manifest(f"s3://assay/root/captions/{stack.record(first).caption_id}")
    run_id = stack.trigger(uri, suite="pair", baseline="none")
    assert stack.finish(run_id, seconds=120) == "success"
    assert {job["submission_id"] for job in stack.ray_jobs()} == jobs
    assert manifest(f"s3://assay/root/captions/{stack.record(run_id).caption_id}") == before
    assert stack.record(run_id) == stack.record(first)


def test_a_regressed_checkpoint_fails_against_the_good_one(stack: Stack, pair: Pair) -> None:
    run_id = stack.trigger(pair["step-0809"][0], suite="pair", baseline=pair["step-0800"][0])
    assert stack.finish(run_id) == "success"
    verdict = stack.tasks(run_id)["verdict"]
    assert verdict["state"] == "failed"
    record = stack.record(run_id)
    assert record.verdict.outcome == "FAIL"
    assert "exact_match" in record.verdict.reason
    note = stack.runs()[run_id]["note"]
    assert note.startswith("FAIL step-0809 \\(pair\\): exact\\_match")
    assert stack.api.read_last_error(run_id, "verdict", 1) == f"FAIL: {record.verdict.reason}"


def test_a_person_overrules_the_fail_with_a_reason(stack: Stack, pair: Pair) -> None:
    """The suite asks about a FAIL. The question waits without a worker, and the answer moves the baseline."""
    (run_id,) = stack.runs("decide_run")
    path = f"/api/v2/dags/decide_run/dagRuns/{run_id}/taskInstances/decide"
    wait(lambda: stack.api.get(path)["state"] == "awaiting_input", 60, "the question")
    stack.api.answer("decide_run", run_id, "decide", "Accept", reason="we drop these images")
    assert stack.finish(run_id, "decide_run", 60) == "success"
    spec = stack.spec(stack.trigger(pair["step-0800"][0], suite="pair", baseline="last-accepted"))
    assert spec["baseline"]["checkpoint"]["name"] == "step-0809"
    (decision,) = decisions.list_decisions("s3://assay/root", "pair")
    assert (decision.decided_by, decision.reason, decision.outcome) == ("admin", "we drop these images", "FAIL")


@pytest.mark.parametrize(
    ("checkpoint", "suite", "task", "line"),
    [
        ("s3://assay/by-hand/step-9999", "pair", "wait_for_checkpoint", "nothing is there"),
        ("s3://assay/by-hand/step-0800", "piar", "plan", "did you mean 'pair'?"),
    ],
)
def test_an_input_error_is_one_line_and_no_retry(
    stack: Stack, pair: Pair, checkpoint: str, suite: str, task: str, line: str
) -> None:
    run_id = stack.trigger(checkpoint, suite=suite)
    assert stack.finish(run_id, seconds=180) == "failed"
    instance = stack.tasks(run_id)[task]
    assert instance["state"] == "failed"
    error = stack.api.read_last_error(run_id, task, instance["try_number"])
    assert line in error
    assert "\n" not in error
    assert instance["try_number"] == 1
