import time
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowTaskTimeout, TaskDeferred
from assay_airflow.exceptions import RayJobFailed, RayJobTimeout
from assay_airflow.operators.ray_job import RayJobLink, RayJobOperator
from assay_airflow.stages import StageJob
from ray_server import RayServer
from specs import make_record, make_spec, write_failure

from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError
from ray_jobs.job.handshake import VARIABLE, say
from ray_jobs.storage import objects

PUSHED: dict[str, Any] = {}
TI = SimpleNamespace(
    dag_id="validate_checkpoint",
    run_id="manual__1",
    task_id="caption",
    xcom_push=lambda key, value: PUSHED.__setitem__(key, value),
)
CONTEXT: Any = {"ti": TI}


def operator(spec: Spec, stage: str = "caption", next_uri: str | None = None) -> RayJobOperator:
    hour = timedelta(hours=1)
    return RayJobOperator(task_id=stage, stage=stage, spec_uri=spec.uri, next_spec_uri=next_uri, job_timeout=hour)


def defer(spec: Spec, stage: str = "caption", next_uri: str | None = None) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as raised:
        operator(spec, stage, next_uri).execute(CONTEXT)
    return raised.value


def event(status: str, **details: Any) -> dict[str, Any]:
    payload = {"status": status, "submission_id": "job-1", "message": "", "start_time": 0, "metadata": {}}
    return payload | {"exit_code": None} | details


def finish(spec: Spec, stage: str = "caption") -> None:
    objects.write(StageJob.of(stage, spec).marker, b"{}")


def test_a_complete_stage_submits_no_job(ray: RayServer, spec: Spec) -> None:
    finish(spec)
    assert operator(spec).execute(CONTEXT) == f"{spec.captions_uri}/manifest.json"
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
    assert arguments == {"ray_conn_id": "ray_default", "submission_id": name, "poll_interval": 5.0, "patience": 7200.0}
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
    finish(make_spec(tmp_path))
    finish(spec)
    name = defer(spec).trigger.submission_id
    ray.add(name, "SUCCEEDED")
    assert operator(spec).execute(CONTEXT) == f"{spec.captions_uri}/forced/manual__1/manifest.json"
    assert list(ray.jobs) == [name]


@pytest.mark.parametrize("stage", ["caption", "evaluate"])
def test_an_earlier_result_is_not_the_result_of_a_forced_job(ray: RayServer, tmp_path: Any, stage: str) -> None:
    spec = make_spec(tmp_path, force="manual__1")
    finish(make_spec(tmp_path), stage)
    with pytest.raises(RayJobFailed, match="left no"):
        operator(spec, stage).execute_complete(CONTEXT, event("SUCCEEDED"))


def judge(spec: Spec, outcome: str) -> str:
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
    marker = judge(spec, "INCOMPLETE")
    assert operator(spec, "evaluate").execute_complete(CONTEXT, event("SUCCEEDED")) == marker, "it is a result"
    second = defer(spec, "evaluate").trigger.submission_id
    assert (first, second) == (job.submission_id(0), job.submission_id(1))
    assert defer(spec, "evaluate").trigger.submission_id == second, "two who ask share the new job"
    ray.add(second, "SUCCEEDED")
    judge(spec, "PASS")
    assert operator(spec, "evaluate").execute(CONTEXT) == marker
    assert list(ray.jobs) == [first, second]


def test_a_job_succeeds_only_if_its_marker_exists(ray: RayServer, spec: Spec) -> None:
    with pytest.raises(RayJobFailed, match=r"job-1 succeeded but left no .*/manifest.json; it is submitted anew"):
        operator(spec).execute_complete(CONTEXT, event("SUCCEEDED"))
    finish(spec)
    assert operator(spec).execute_complete(CONTEXT, event("SUCCEEDED")) == f"{spec.captions_uri}/manifest.json"


@pytest.mark.parametrize(("kind", "raises"), [("bad-input", InputError), ("trouble", RayJobFailed)])
def test_the_error_repeats_the_jobs_own_message(spec: Spec, kind: str, raises: type[Exception]) -> None:
    write_failure(spec, "caption", kind, "checkpoint x: y is missing; do z")
    with pytest.raises(raises) as raised:
        operator(spec).execute_complete(CONTEXT, event("FAILED", metadata={"assay_spec": spec.uri}))
    assert str(raised.value) == "checkpoint x: y is missing; do z"


def test_exit_code_2_is_an_input_error_even_without_a_failure_file(spec: Spec) -> None:
    with pytest.raises(InputError, match="Ray job job-1: spec: nothing is there"):
        operator(spec).execute_complete(CONTEXT, event("FAILED", exit_code=2, message="spec: nothing\nis there"))


@pytest.mark.parametrize(
    ("ending", "line"),
    [
        (event("FAILED", message="Job supervisor\nactor died"), "failed and left no reason: Job supervisor actor died"),
        (event("FAILED"), "failed and left no reason: no message"),
        (event("LOST"), "is unknown to Ray: its head was restarted"),
        (event("TIMEOUT"), "was stopped: not done within 1:00:00"),
        (event("UNREACHABLE", message="Ray at x does not answer"), "Ray at x does not answer"),
    ],
)
def test_any_other_end_is_a_failed_job_in_one_line(spec: Spec, ending: dict[str, Any], line: str) -> None:
    with pytest.raises(RayJobFailed) as raised:
        operator(spec).execute_complete(CONTEXT, ending)
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_job_that_timed_out_after_writing_parts_counts_as_progress(ray: RayServer, spec: Spec) -> None:
    for number in range(3):
        wait = defer(spec)
        objects.write(f"{spec.captions_uri}/parts/part-{number:05d}.parquet", b"captions")
        with pytest.raises(RayJobTimeout, match="but made progress"):
            operator(spec).execute_complete(CONTEXT, event("TIMEOUT"), **(wait.kwargs or {}))
    for raises in (RayJobTimeout, InputError):
        with pytest.raises(raises, match="ASSAY_RUN_HOURS"):
            operator(spec).execute_complete(CONTEXT, event("TIMEOUT"), **(defer(spec).kwargs or {}))


def test_the_task_submits_again_once_after_a_stop_from_elsewhere(ray: RayServer, spec: Spec) -> None:
    job = StageJob.of("caption", spec)
    ray.add(job.submission_id(0), "STOPPED")
    with pytest.raises(TaskDeferred) as raised:
        operator(spec).execute_complete(CONTEXT, event("STOPPED"))
    assert raised.value.trigger.submission_id == job.submission_id(1)
    deferral_kwargs = raised.value.kwargs or {}
    assert deferral_kwargs["stops"] == 1
    with pytest.raises(RayJobFailed, match="was stopped, like the one before it, by a person or another run"):
        operator(spec).execute_complete(CONTEXT, event("STOPPED"), **deferral_kwargs)


def test_a_refused_token_is_an_input_error(spec: Spec) -> None:
    with pytest.raises(InputError, match="refuses the token"):
        operator(spec).execute_complete(CONTEXT, event("REFUSED", message="Ray at x refuses the token"))


def test_a_missing_spec_is_an_input_error(ray: RayServer, tmp_path: Any) -> None:
    with pytest.raises(InputError, match="nothing is there"):
        operator(make_spec(tmp_path, write=False)).execute(CONTEXT)


def test_killing_the_task_stops_the_job_it_has_submitted(ray: RayServer, spec: Spec) -> None:
    task = operator(spec)
    task.on_kill()
    assert ray.stopped == []
    with pytest.raises(TaskDeferred):
        task.execute(CONTEXT)
    task.on_kill()
    assert ray.stopped == list(ray.jobs)


@pytest.fixture
def next_spec(tmp_path: Any) -> Spec:
    """The spec of the checkpoint that comes next."""
    return make_spec(tmp_path / "root", fingerprint="a" * 16)


def first_job_ids(*specs: Spec) -> list[str]:
    """Those of the specs' first captions jobs."""
    return [StageJob.of("caption", spec).submission_id(0) for spec in specs]


def test_the_next_checkpoints_job_is_submitted_while_this_one_runs(ray: RayServer, spec: Spec, next_spec: Spec) -> None:
    job_id, next_job_id = first_job_ids(spec, next_spec)
    ray.add(job_id, "RUNNING")
    assert defer(spec, next_uri=next_spec.uri).trigger.submission_id == job_id
    assert list(ray.jobs) == [job_id, next_job_id]
    assert (
        ray.jobs[next_job_id]["entrypoint"]
        == f"{VARIABLE}={say()} python -u -m ray_jobs.caption --spec {next_spec.uri}"
    )
    assert ray.jobs[next_job_id]["metadata"] == {
        "assay_spec": next_spec.uri,
        "airflow_dag": "validate_checkpoint",
        "airflow_run": "manual__1",
        "airflow_task": "caption",
    }
    assert defer(next_spec).trigger.submission_id == next_job_id, "its own run attaches to it"
    assert list(ray.jobs) == [job_id, next_job_id]


@pytest.mark.parametrize("status", [None, "PENDING"])
def test_the_next_job_is_not_submitted_before_this_one_runs(
    ray: RayServer, spec: Spec, next_spec: Spec, status: str | None
) -> None:
    job_id, next_job_id = first_job_ids(spec, next_spec)
    if status:
        ray.add(job_id, status)
    assert defer(spec, next_uri=next_spec.uri).trigger.submission_id == job_id
    assert list(ray.jobs) == [job_id]
    finish(spec)
    marker = operator(spec, next_uri=next_spec.uri).execute_complete(CONTEXT, event("SUCCEEDED"))
    assert marker == f"{spec.captions_uri}/manifest.json"
    assert list(ray.jobs) == [job_id, next_job_id]


def test_the_next_job_is_submitted_if_this_stage_is_complete(ray: RayServer, spec: Spec, next_spec: Spec) -> None:
    finish(spec)
    assert operator(spec, next_uri=next_spec.uri).execute(CONTEXT) == f"{spec.captions_uri}/manifest.json"
    assert list(ray.jobs) == first_job_ids(next_spec)


def test_the_next_job_is_submitted_if_the_forced_job_has_ended(ray: RayServer, tmp_path: Any) -> None:
    spec, next_spec = make_spec(tmp_path, force="manual__1"), make_spec(tmp_path, fingerprint="a" * 16)
    finish(spec)
    ray.add(first_job_ids(spec)[0], "SUCCEEDED")
    operator(spec, next_uri=next_spec.uri).execute(CONTEXT)
    assert list(ray.jobs) == first_job_ids(spec, next_spec)


@pytest.mark.parametrize("status", ["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "STOPPED"])
def test_the_state_of_the_next_job_does_not_matter_to_this_run(
    ray: RayServer, spec: Spec, next_spec: Spec, status: str
) -> None:
    job_id, next_job_id = first_job_ids(spec, next_spec)
    ray.add(job_id, "RUNNING")
    ray.add(next_job_id, status)
    defer(spec, next_uri=next_spec.uri)
    assert {name: job["status"] for name, job in ray.jobs.items()} == {job_id: "RUNNING", next_job_id: status}


def test_a_complete_next_stage_submits_no_job(ray: RayServer, spec: Spec, next_spec: Spec) -> None:
    finish(spec)
    finish(next_spec)
    operator(spec, next_uri=next_spec.uri).execute(CONTEXT)
    assert ray.jobs == {}


NOTHING = "Nothing was submitted for the run that follows: "


def test_the_next_job_is_submitted_once(
    ray: RayServer, spec: Spec, next_spec: Spec, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(spec)
    for _ in range(2):
        operator(spec, next_uri=next_spec.uri).execute(CONTEXT)
    ray.unseen.update(first_job_ids(next_spec))  # another task submits it between the look and the request
    operator(spec, next_uri=next_spec.uri).execute(CONTEXT)
    assert list(ray.jobs) == first_job_ids(next_spec)
    assert ray.unseen == set()
    output = capsys.readouterr().out
    assert (output.count("for the run that follows"), NOTHING in output) == (1, False)


def test_killing_the_task_does_not_stop_the_next_job(ray: RayServer, spec: Spec, next_spec: Spec) -> None:
    job_id, next_job_id = first_job_ids(spec, next_spec)
    ray.add(job_id, "RUNNING")
    task = operator(spec, next_uri=next_spec.uri)
    with pytest.raises(TaskDeferred):
        task.execute(CONTEXT)
    task.on_kill()
    assert next_job_id in ray.jobs
    assert ray.stopped == [job_id]


@pytest.mark.parametrize("status", ["FAILED", "STOPPED", "TIMEOUT"])
def test_a_failure_of_this_job_does_not_stop_the_next_one(
    ray: RayServer, spec: Spec, next_spec: Spec, status: str
) -> None:
    job_id, next_job_id = first_job_ids(spec, next_spec)
    ray.add(job_id, "RUNNING")
    defer(spec, next_uri=next_spec.uri)
    with pytest.raises(RayJobFailed):
        operator(spec, next_uri=next_spec.uri).execute_complete(CONTEXT, event(status), stops=1)
    assert ray.jobs[next_job_id]["status"] == "PENDING"
    assert ray.stopped == []


def test_a_next_job_that_cannot_be_submitted_is_one_line_and_no_failure(
    ray: RayServer, spec: Spec, next_spec: Spec, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(spec)
    objects.delete(next_spec.uri)
    operator(spec, next_uri=next_spec.uri).execute(CONTEXT)
    assert f"{NOTHING}spec {next_spec.uri}: nothing is there" in capsys.readouterr().out
    objects.write(next_spec.uri, next_spec.model_dump_json().encode())
    ray.broken = 1
    assert operator(spec, next_uri=next_spec.uri).execute(CONTEXT) == f"{spec.captions_uri}/manifest.json"
    assert f"{NOTHING}Ray at http://127.0.0.1:{ray.port} answers 500" in capsys.readouterr().out
    assert ray.jobs == {}


def test_a_task_timeout_while_submitting_the_next_job_ends_the_task(
    spec: Spec, next_spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_or_time_out(uri: str) -> Spec:
        if uri == next_spec.uri:
            raise AirflowTaskTimeout
        return spec

    finish(spec)
    monkeypatch.setattr("assay_airflow.operators.ray_job.load_spec", load_or_time_out)
    with pytest.raises(AirflowTaskTimeout):
        operator(spec, next_uri=next_spec.uri).execute(CONTEXT)


def test_the_specs_are_templates() -> None:
    assert RayJobOperator.template_fields == ("spec_uri", "next_spec_uri")


def test_the_link_is_what_was_pushed(monkeypatch: pytest.MonkeyPatch) -> None:
    link = RayJobLink()
    target = "assay_airflow.operators.ray_job.XCom.get_value"
    monkeypatch.setattr(target, lambda ti_key, key: {link.xcom_key: "http://ray/#/jobs/a"}.get(key))
    assert link.get_link(None, ti_key=None) == "http://ray/#/jobs/a"
    monkeypatch.setattr(target, lambda ti_key, key: None)
    assert link.get_link(None, ti_key=None) == ""
