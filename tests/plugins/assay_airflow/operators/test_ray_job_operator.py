"""A stage's task submits a job, attaches to one or finds the result; each end of a job is a result or an error."""

import time
from threading import Thread
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from assay_airflow.exceptions import RayJobFailed, RayJobTimeout
from assay_airflow.operators.ray_job import RayJobLink, RayJobOperator
from assay_airflow.stages import StageJob
from ray_job_tasks import CONTEXT, PUSHED, defer, make_event, make_operator, write_marker
from ray_server import RayServer
from specs import make_record, make_spec, write_failure

from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import objects


def test_a_complete_stage_submits_no_job(ray: RayServer, spec: Spec) -> None:
    write_marker(spec)
    assert make_operator(spec).execute(CONTEXT) == f"{spec.captions_uri}/manifest.json"
    assert ray.jobs == {}
    assert PUSHED[RayJobLink().xcom_key] == ""


def test_a_missing_stage_submits_a_job_and_defers(ray: RayServer, spec: Spec) -> None:
    before = time.time()
    wait = defer(spec)
    name = StageJob.of("caption", spec).submission_id(0)
    assert list(ray.jobs) == [name]
    assert ray.jobs[name]["metadata"] == {
        "assay_spec": spec.uri,
        "airflow_dag": "validate_checkpoint",
        "airflow_run": "manual__1",
        "airflow_task": "caption",
    }
    _, arguments = wait.trigger.serialize()
    deadline = arguments.pop("deadline")
    assert 3600 <= deadline - before < 3660
    assert arguments == {
        "ray_conn_id": "ray_default",
        "submission_id": name,
        "poll_interval": 5.0,
        "patience": 7200.0,
        "lines": 0,
        "characters": 0,
    }
    assert (wait.method_name, wait.timeout) == ("execute_complete", None)  # a timeout here would orphan the job
    assert PUSHED[RayJobLink().xcom_key] == f"http://127.0.0.1:{ray.port}/#/jobs/{name}"


@pytest.mark.parametrize("status", ["PENDING", "RUNNING"])
def test_the_task_attaches_to_a_job_under_way(ray: RayServer, spec: Spec, status: str) -> None:
    name = StageJob.of("caption", spec).submission_id(0)
    ray.add(name, status)
    assert defer(spec).trigger.submission_id == name
    assert list(ray.jobs) == [name]


def test_two_runs_share_the_job_that_prepares_their_golden_set(ray: RayServer, tmp_path: Any) -> None:
    first_spec, other_spec = make_spec(tmp_path, fingerprint="a" * 16), make_spec(tmp_path, fingerprint="b" * 16)
    names = {defer(spec, "preprocess").trigger.submission_id for spec in (first_spec, other_spec)}
    assert names == set(ray.jobs)
    assert len(names) == 1


def test_a_task_that_loses_the_race_to_submit_attaches(ray: RayServer, spec: Spec) -> None:
    name = StageJob.of("caption", spec).submission_id(0)
    ray.add(name, "RUNNING")
    ray.unseen.add(name)
    assert defer(spec).trigger.submission_id == name
    assert list(ray.jobs) == [name]


@pytest.mark.parametrize("status", ["FAILED", "STOPPED", "SUCCEEDED"])  # the last without its marker
def test_a_job_that_ended_without_its_result_is_followed_by_the_next(ray: RayServer, spec: Spec, status: str) -> None:
    job = StageJob.of("caption", spec)
    ray.add(job.submission_id(0), status)
    ray.add(job.submission_id(1), "FAILED")
    assert defer(spec).trigger.submission_id == job.submission_id(2)
    assert ray.jobs[job.submission_id(2)]["status"] == "PENDING"


def test_runs_that_share_a_failed_job_meet_at_its_successor(ray: RayServer, tmp_path: Any) -> None:
    first_spec, other_spec = make_spec(tmp_path, fingerprint="a" * 16), make_spec(tmp_path, fingerprint="b" * 16)
    ray.add(StageJob.of("preprocess", first_spec).submission_id(0), "STOPPED")
    names = {defer(spec, "preprocess").trigger.submission_id for spec in (first_spec, other_spec)}
    assert names == {StageJob.of("preprocess", first_spec).submission_id(1)}


def test_a_forced_run_submits_although_the_result_exists_but_only_once(ray: RayServer, tmp_path: Any) -> None:
    spec = make_spec(tmp_path, force="manual__1")
    write_marker(make_spec(tmp_path))
    write_marker(spec)
    name = defer(spec).trigger.submission_id
    ray.add(name, "SUCCEEDED")
    assert make_operator(spec).execute(CONTEXT) == f"{spec.captions_uri}/forced/manual__1/manifest.json"
    assert list(ray.jobs) == [name]


@pytest.mark.parametrize("stage", ["caption", "evaluate"])
def test_an_earlier_result_is_not_the_result_of_a_forced_job(ray: RayServer, tmp_path: Any, stage: str) -> None:
    spec = make_spec(tmp_path, force="manual__1")
    write_marker(make_spec(tmp_path), stage)
    with pytest.raises(RayJobFailed, match="left no"):
        make_operator(spec, stage).execute_complete(CONTEXT, make_event("SUCCEEDED"))


def write_verdict(spec: Spec, outcome: str) -> str:
    marker = StageJob.of("evaluate", spec).marker
    objects.write(marker, make_record(spec, outcome).verdict.model_dump_json().encode())
    return marker


@pytest.mark.parametrize("force", [None, "manual__1"])
def test_after_an_incomplete_verdict_the_next_job_is_submitted(
    ray: RayServer, tmp_path: Any, force: str | None
) -> None:
    spec = make_spec(tmp_path, force=force)
    job = StageJob.of("evaluate", spec)
    first = defer(spec, "evaluate").trigger.submission_id
    ray.add(first, "SUCCEEDED")
    marker = write_verdict(spec, "INCOMPLETE")
    assert make_operator(spec, "evaluate").execute_complete(CONTEXT, make_event("SUCCEEDED")) == marker, (
        "it is a result"
    )
    second = defer(spec, "evaluate").trigger.submission_id
    assert (first, second) == (job.submission_id(0), job.submission_id(1))
    assert defer(spec, "evaluate").trigger.submission_id == second, "two who ask share the new job"
    ray.add(second, "SUCCEEDED")
    write_verdict(spec, "PASS")
    assert make_operator(spec, "evaluate").execute(CONTEXT) == marker
    assert list(ray.jobs) == [first, second]


def test_a_job_succeeds_only_if_its_marker_exists(ray: RayServer, spec: Spec) -> None:
    with pytest.raises(RayJobFailed, match=r"job-1 succeeded but left no .*/manifest.json; it is submitted anew"):
        make_operator(spec).execute_complete(CONTEXT, make_event("SUCCEEDED"))
    write_marker(spec)
    assert (
        make_operator(spec).execute_complete(CONTEXT, make_event("SUCCEEDED")) == f"{spec.captions_uri}/manifest.json"
    )


@pytest.mark.parametrize(("kind", "raises"), [("bad-input", InputError), ("trouble", RayJobFailed)])
def test_the_error_repeats_the_jobs_own_message(spec: Spec, kind: str, raises: type[Exception]) -> None:
    write_failure(spec, "caption", kind, "checkpoint x: y is missing; do z")
    with pytest.raises(raises) as raised:
        make_operator(spec).execute_complete(CONTEXT, make_event("FAILED", metadata={"assay_spec": spec.uri}))
    assert str(raised.value) == "checkpoint x: y is missing; do z"


def test_exit_code_2_is_an_input_error_even_without_a_failure_file(spec: Spec) -> None:
    with pytest.raises(InputError, match="Ray job job-1: spec: nothing is there"):
        make_operator(spec).execute_complete(
            CONTEXT, make_event("FAILED", exit_code=2, message="spec: nothing\nis there")
        )


@pytest.mark.parametrize(
    ("ending", "line"),
    [
        (
            make_event("FAILED", message="Job supervisor\nactor died"),
            "failed and left no reason: Job supervisor actor died",
        ),
        (make_event("FAILED"), "failed and left no reason: no message"),
        (make_event("LOST"), "is unknown to Ray: its head was restarted"),
        (make_event("TIMEOUT"), "was stopped: not done within 1:00:00"),
        (make_event("UNREACHABLE", message="Ray at x does not answer"), "Ray at x does not answer"),
    ],
)
def test_any_other_end_is_a_failed_job_in_one_line(spec: Spec, ending: dict[str, Any], line: str) -> None:
    with pytest.raises(RayJobFailed) as raised:
        make_operator(spec).execute_complete(CONTEXT, ending)
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_job_that_timed_out_after_writing_parts_counts_as_progress(ray: RayServer, spec: Spec) -> None:
    for number in range(3):
        wait = defer(spec)
        objects.write(f"{spec.captions_uri}/parts/part-{number:05d}.parquet", b"captions")
        with pytest.raises(RayJobTimeout, match="but made progress"):
            make_operator(spec).execute_complete(CONTEXT, make_event("TIMEOUT"), **(wait.kwargs or {}))
    for raises in (RayJobTimeout, InputError):
        with pytest.raises(raises, match="ASSAY_RUN_HOURS"):
            make_operator(spec).execute_complete(CONTEXT, make_event("TIMEOUT"), **(defer(spec).kwargs or {}))


def test_the_task_submits_again_once_after_a_stop_from_elsewhere(ray: RayServer, spec: Spec) -> None:
    job = StageJob.of("caption", spec)
    ray.add(job.submission_id(0), "STOPPED")
    with pytest.raises(TaskDeferred) as raised:
        make_operator(spec).execute_complete(CONTEXT, make_event("STOPPED"))
    assert raised.value.trigger.submission_id == job.submission_id(1)
    deferral_kwargs = raised.value.kwargs or {}
    assert deferral_kwargs["stops"] == 1
    with pytest.raises(RayJobFailed, match="was stopped, like the one before it, by a person or another run"):
        make_operator(spec).execute_complete(CONTEXT, make_event("STOPPED"), **deferral_kwargs)


def test_a_refused_token_is_an_input_error(spec: Spec) -> None:
    with pytest.raises(InputError, match="refuses the token"):
        make_operator(spec).execute_complete(CONTEXT, make_event("REFUSED", message="Ray at x refuses the token"))


def test_a_missing_spec_is_an_input_error(ray: RayServer, tmp_path: Any) -> None:
    with pytest.raises(InputError, match="nothing is there"):
        make_operator(make_spec(tmp_path, write=False)).execute(CONTEXT)


def test_killing_the_task_stops_the_job_it_has_submitted(ray: RayServer, spec: Spec) -> None:
    task = make_operator(spec)
    task.on_kill()
    assert ray.stopped == []
    with pytest.raises(TaskDeferred):
        task.execute(CONTEXT)
    task.on_kill()
    assert ray.stopped == list(ray.jobs)


def test_a_job_that_is_over_within_the_wait_is_not_deferred(ray: RayServer, spec: Spec) -> None:
    name = StageJob.of("caption", spec).submission_id(0)
    ray.add(name, "RUNNING")

    def finish(looks: int) -> None:
        if looks == 4:
            write_marker(spec)
            ray.jobs[name]["status"] = "SUCCEEDED"

    ray.on_look = finish
    assert make_operator(spec, worker_wait=60).execute(CONTEXT) == StageJob.of("caption", spec).marker
    assert list(ray.jobs) == [name]


def test_a_job_that_fails_within_the_wait_is_its_error(ray: RayServer, spec: Spec) -> None:
    name = StageJob.of("caption", spec).submission_id(0)
    ray.add(name, "RUNNING", message="the GPU fell off")
    ray.on_look = lambda looks: ray.jobs[name].update(status="FAILED" if looks > 3 else "RUNNING")
    with pytest.raises(RayJobFailed, match="left no reason: the GPU fell off"):
        make_operator(spec, worker_wait=60).execute(CONTEXT)


def test_a_job_that_outlasts_the_wait_goes_to_the_triggerer_with_its_log_so_far(ray: RayServer, spec: Spec) -> None:
    ray.add(StageJob.of("caption", spec).submission_id(0), "RUNNING")
    ray.log_lines = ["one\n", "two\n", "thr"]
    with pytest.raises(TaskDeferred) as raised:
        make_operator(spec, worker_wait=0.5).execute(CONTEXT)
    arguments = raised.value.trigger.serialize()[1]
    assert (arguments["lines"], arguments["characters"]) == (2, 6)


def test_a_task_that_is_killed_while_it_waits_does_not_submit_again(ray: RayServer, spec: Spec) -> None:
    task = make_operator(spec, worker_wait=60)

    def kill(looks: int) -> None:
        if looks == 3:
            Thread(target=task.on_kill).start()

    ray.on_look = kill
    with pytest.raises(TaskDeferred):  # Airflow refuses the deferral of a task that was marked or cleared
        task.execute(CONTEXT)
    name = StageJob.of("caption", spec).submission_id(0)
    assert (list(ray.jobs), ray.stopped) == ([name], [name])


def test_the_specs_are_templates() -> None:
    assert RayJobOperator.template_fields == ("spec_uri", "next_spec_uri")


def test_the_link_is_what_was_pushed(monkeypatch: pytest.MonkeyPatch) -> None:
    link = RayJobLink()
    target = "assay_airflow.operators.ray_job.XCom.get_value"
    monkeypatch.setattr(target, lambda ti_key, key: {link.xcom_key: "http://ray/#/jobs/a"}.get(key))
    assert link.get_link(None, ti_key=None) == "http://ray/#/jobs/a"
    monkeypatch.setattr(target, lambda ti_key, key: None)
    assert link.get_link(None, ti_key=None) == ""
