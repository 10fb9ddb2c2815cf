"""The time limit of a run is at least the sum of the limits along its longest path of tasks."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import RetryAction
from assay_airflow import limits
from assay_airflow.exceptions import (
    DELAY_AFTER_TIMEOUT,
    DELAYS,
    UNEXPECTED_TRIES,
    OutagePolicy,
    RayJobFailed,
    RayJobTimeout,
    RayUnreachable,
)
from assay_airflow.operators.ray_job import RayJobOperator
from assay_airflow.sensors.base import DeferrableSensor
from assay_airflow.timeouts import digest_progress, forget_timeout, raise_timeout
from rendering import BAG
from specs import make_spec

from ray_jobs.contract.artifacts import Failure, Manifest
from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.storage import objects

OUTAGE = sum(DELAYS, timedelta())
FREE = timedelta()


def longest_time(task: Any) -> timedelta:
    """The most time that all tries of a task may take, without an outage of Ray or the storage."""
    operator, arguments = (task.operator_class, task.partial_kwargs) if task.is_mapped else (type(task), vars(task))
    if issubclass(operator, RayJobOperator):
        job_timeout: timedelta = arguments["job_timeout"]
        return (1 + limits.TRIES_AFTER_TIMEOUT) * job_timeout + limits.TRIES_AFTER_TIMEOUT * DELAY_AFTER_TIMEOUT
    if issubclass(operator, DeferrableSensor):
        return timedelta(seconds=arguments["patience"].total_seconds())
    return timedelta(seconds=task.execution_timeout.total_seconds())


def longest_path(dag: Any) -> timedelta:
    ends: dict[str, timedelta] = {}
    for task in dag.topological_sort():
        before = max((ends[task_id] for task_id in task.upstream_task_ids), default=FREE)
        ends[task.task_id] = before + (FREE if task.task_id == "validate" else longest_time(task))
    return max(ends.values())


@pytest.mark.parametrize("dag_id", sorted(BAG.dags))
def test_all_tries_and_an_outage_fit_into_the_run(dag_id: str) -> None:
    dag = BAG.dags[dag_id]
    assert dag.dagrun_timeout is not None
    assert longest_path(dag) + OUTAGE <= dag.dagrun_timeout


@pytest.mark.parametrize("dag_id", sorted(BAG.dags))
def test_an_outage_of_two_hours_loses_no_run(dag_id: str) -> None:
    for task in BAG.dags[dag_id].tasks:
        assert task.retries == len(DELAYS), task.task_id
        assert isinstance(task.retry_policy, OutagePolicy), task.task_id
    assert timedelta(hours=2) <= OUTAGE
    assert timedelta(hours=2) <= limits.OUTAGE


def test_a_pass_of_the_router_takes_less_than_a_day() -> None:
    limit = BAG.dags["checkpoint_router"].dagrun_timeout
    assert limit is not None
    assert limit < timedelta(hours=24)


def test_a_hung_caption_job_takes_at_most_a_quarter_of_a_pass(tmp_path: Any) -> None:
    spec = plan_with_images(tmp_path, images=1000)
    hung = 2 * sum((limits.limit_job_time(stage, spec, limits.JOBS[stage]) for stage in ("caption",)), FREE)
    assert hung <= limits.PASS / 4


def run_started(hours_ago: float) -> Any:
    began = datetime.now(UTC) - timedelta(hours=hours_ago)
    dag = BAG.dags["validate_checkpoint"]
    return {"dag_run": SimpleNamespace(start_date=began), "dag": dag}


@pytest.mark.parametrize("try_number", range(1, 7))
@pytest.mark.parametrize(
    "error", [RetryableError("t"), RayUnreachable("r"), RayJobFailed("f")], ids=lambda e: type(e).__name__
)
def test_retryable_errors_are_retried_after_growing_delays(error: Exception, try_number: int) -> None:
    decision = OutagePolicy().evaluate(error, try_number, 6, run_started(1))
    assert (decision.action, decision.retry_delay) == (RetryAction.RETRY, DELAYS[try_number - 1])


@pytest.mark.parametrize("hours_ago", [23.99, 24, 100])
@pytest.mark.parametrize("error", [RetryableError("t"), OSError("unforeseen"), RayJobTimeout("t")], ids=str)
def test_nothing_is_retried_after_the_runs_time_limit(error: Exception, hours_ago: float) -> None:
    decision = OutagePolicy().evaluate(error, 1, 6, run_started(hours_ago))
    assert decision.action == RetryAction.FAIL
    assert "the run has" in str(decision.reason)


@pytest.mark.parametrize("error", [InputError("b")], ids=str)
@pytest.mark.parametrize("context", [None, {}, run_started(1)], ids=["none", "empty", "a-run"])
def test_an_input_error_fails_at_once(error: Exception, context: Any) -> None:
    assert OutagePolicy().evaluate(error, 1, 6, context).action == RetryAction.FAIL


@pytest.mark.parametrize(("try_number", "action"), [(UNEXPECTED_TRIES, "retry"), (UNEXPECTED_TRIES + 1, "fail")])
@pytest.mark.parametrize("error", [ValueError("v"), RecursionError(), MemoryError(), KeyError("k")], ids=repr)
def test_an_unexpected_error_has_fewer_tries_than_an_outage(error: Exception, try_number: int, action: str) -> None:
    assert OutagePolicy().evaluate(error, try_number, 6, run_started(1)).action.value == action


def plan_with_images(root: Any, images: int) -> Spec:
    spec = make_spec(root / "root")
    manifest = Manifest(stage="golden", id="g", rows_in=images, rows_out=images, parts=(), created_at=datetime.now(UTC))
    objects.write(f"{spec.golden_uri}/manifest.json", manifest.model_dump_json().encode())
    return spec


@pytest.mark.parametrize("images", [0, 1, 1000, 20_000, 10**6, 10**12])
@pytest.mark.parametrize("stage", ["caption", "evaluate", "audit", "preprocess"])
def test_the_time_limit_of_a_job_grows_with_its_images_within_bounds(tmp_path: Any, stage: str, images: int) -> None:
    spec, longest = plan_with_images(tmp_path, images), limits.JOBS[stage]
    time = limits.limit_job_time(stage, spec, longest)
    assert min(limits.MIN_JOB_TIME, longest) <= time <= longest
    if stage in ("caption", "evaluate"):
        work = limits.SAFETY_FACTOR * images / limits.DEFAULT_RATES[stage]
        assert time >= min(timedelta(seconds=min(work, 10**9)), longest)


ODD = {
    "empty": b"",
    "not-json": b"{",
    "a-list": b"[]",
    "negative": b'{"stage":"golden","id":"g","rows_in":-1,"rows_out":-1,"parts":[],"created_at":"2026-01-01"}',
    "infinite": b'{"stage":"golden","id":"g","rows_in":1e999,"rows_out":1e999,"parts":[],"created_at":"2026-01-01"}',
    "deep": b"[" * 100_000,
    "too-large": b" " * (limits.MAX_MANIFEST_BYTES + 1),
}


@pytest.mark.parametrize("data", ODD.values(), ids=list(ODD))
def test_an_odd_manifest_gives_the_longest_time(tmp_path: Any, data: bytes) -> None:
    spec = make_spec(tmp_path / "root")
    objects.write(f"{spec.golden_uri}/manifest.json", data)
    assert limits.limit_job_time("caption", spec, limits.JOBS["caption"]) == limits.JOBS["caption"]


@pytest.mark.parametrize("stage", ["preprocess", "caption", "evaluate", "audit"])
def test_a_job_that_timed_out_twice_waits_for_a_person(tmp_path: Any, stage: str) -> None:
    spec = make_spec(tmp_path / "root")
    with pytest.raises(RayJobTimeout, match="not done"):
        raise_timeout(stage, spec, "job-1 was stopped: not done within 1:00:00")
    with pytest.raises(InputError, match="timed out twice: job-2"):
        raise_timeout(stage, spec, "job-2 was stopped: not done within 1:00:00")
    failure = Failure.model_validate_json(objects.read(f"{spec.run_uri}/failure.json"))
    assert (failure.stage, failure.kind) == (stage, "bad-input")
    with pytest.raises(RayJobTimeout):  # a person cleared the task
        raise_timeout(stage, spec, "job-3 was stopped: not done within 1:00:00")


def test_a_success_forgets_the_first_timeout(tmp_path: Any) -> None:
    spec = make_spec(tmp_path / "root")
    with pytest.raises(RayJobTimeout):
        raise_timeout("caption", spec, "stopped")
    forget_timeout("caption", spec)
    with pytest.raises(RayJobTimeout):
        raise_timeout("caption", spec, "stopped")


FIRST_OUTPUT = {
    "preprocess": lambda spec: f"{spec.golden_uri}/parts/part-00001.parquet",
    "caption": lambda spec: f"{spec.captions_uri}/parts/part-00001.parquet",
    "evaluate": lambda spec: f"{spec.judge_uri}/part-00001/0123.parquet",
}


@pytest.mark.parametrize("stage", sorted(FIRST_OUTPUT))
def test_timeouts_are_counted_since_the_last_progress(tmp_path: Any, stage: str) -> None:
    spec = make_spec(tmp_path / "root")
    before = digest_progress(stage, spec)
    with pytest.raises(RayJobTimeout):
        raise_timeout(stage, spec, "job-1 was stopped", before)
    objects.write(FIRST_OUTPUT[stage](spec), b"made by job-2")
    with pytest.raises(RayJobTimeout, match=r"made progress.*ASSAY_RUN_HOURS"):
        raise_timeout(stage, spec, "job-2 was stopped", before)
    before = digest_progress(stage, spec)
    with pytest.raises(RayJobTimeout):
        raise_timeout(stage, spec, "job-3 was stopped", before)
    with pytest.raises(InputError, match=r"timed out twice: job-4.*ASSAY_RUN_HOURS"):
        raise_timeout(stage, spec, "job-4 was stopped", before)


def test_merged_answers_count_as_progress(tmp_path: Any) -> None:
    spec = make_spec(tmp_path / "root")
    for name in ("a", "b"):
        objects.write(f"{spec.judge_uri}/part-00001/{name}.parquet", b"one answer")
    before = digest_progress("evaluate", spec)
    objects.write(f"{spec.judge_uri}/part-00001/c.parquet", b"three answers")
    for name in ("a", "b"):
        objects.delete(f"{spec.judge_uri}/part-00001/{name}.parquet")
    with pytest.raises(RayJobTimeout, match="made progress"):
        raise_timeout("evaluate", spec, "stopped", before)


@pytest.mark.parametrize("has_timeout", [False, True], ids=["nothing-noted", "noted"])
def test_a_success_needs_no_right_to_delete(tmp_path: Any, has_timeout: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, deletions = make_spec(tmp_path / "root"), []
    if has_timeout:
        with pytest.raises(RayJobTimeout):
            raise_timeout("caption", spec, "stopped")

    def refuse(uri: str) -> None:
        deletions.append(uri)
        raise RetryableError(f"{uri}: cannot delete: access denied")

    monkeypatch.setattr(objects, "delete", refuse)
    forget_timeout("caption", spec)
    assert len(deletions) == has_timeout
