"""A whole training run by one trigger: the next checkpoint is captioned while this one is evaluated."""

from functools import partial
from typing import Any

import pytest
from running_stack import Stack, assert_nothing_lost, upload, wait

pytestmark = pytest.mark.timeout(1500)
STEPS = {"run-200": "step-0200", "run-300": "step-0300"}


def test_the_run_before_submits_a_checkpoints_captions_and_they_run_after_its_own(stack: Stack) -> None:
    for name, checkpoint in STEPS.items():
        upload(checkpoint, f"s3://assay/training/{name}")
    request_body = {"logical_date": None, "conf": {"checkpoints": "s3://assay/training", "suite": "training"}}
    stack.api._read_json(stack.api._client.post("/api/v2/dags/checkpoint_router/dagRuns", json=request_body))
    runs = [wait(partial(_find_run, stack, name), 600, f"the run of {name}") for name in STEPS]
    assert [stack.finish(run_id) for run_id in runs] == ["success"] * 2
    for run_id in runs:
        assert_nothing_lost(stack.record(run_id))
        assert stack.tasks(run_id)["plan_following"]["state"] == "success"
    jobs = [_find_job(stack, "caption", stack.record(run_id).caption_id) for run_id in runs]
    assert [job["status"] for job in jobs] == ["SUCCEEDED"] * 2
    assert [job["metadata"]["airflow_run"] for job in jobs] == [runs[0], runs[0]]
    assert jobs[0]["end_time"] <= jobs[1]["end_time"]
    assert stack.record(runs[1]).verdict.baseline is not None, "its captions were asked for before it had one"


def _find_run(stack: Stack, name: str) -> str | None:
    return next((run_id for run_id in stack.runs() if f"__{name}-" in run_id), None)


def _find_job(stack: Stack, stage: str, content_id: str) -> dict[str, Any]:
    """The one job of a stage and content."""
    [job] = [job for job in stack.ray_jobs() if f"assay-{stage}-{content_id}-" in job["submission_id"]]
    return job
