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
from specs import fail, record, spec_in

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


def operator(spec: Spec, stage: str = "caption", then: str | None = None) -> RayJobOperator:
    hour = timedelta(hours=1)
    return RayJobOperator(task_id=stage, stage=stage, spec_uri=spec.uri, next_spec_uri=then, job_timeout=hour)


def deferred(spec: Spec, stage: str = "caption", then: str | None = None) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as raised:
        operator(spec, stage, then).execute(CONTEXT)
    return raised.value


def event(status: str, **details: Any) -> dict[str, Any]:
    payload = {"status": status, "submission_id": "job-1", "message": "", "start_time": 0, "metadata": {}}
    return payload | {"exit_code": None} | details


def finish(spec: Spec, stage: str = "caption") -> None:
    objects.write(StageJob.of(stage, spec).marker, b"{}")


def test_what_is_complete_is_not_submitted(ray: RayServer, spec: Spec) -> None:
    finish(spec)
    assert operator(spec).execute(CONTEXT) == f"{spec.captions_uri}/manifest.json"
    assert ray.jobs == {}
    assert PUSHED[RayJobLink().xcom_key] == ""


def test_what_is_missing_is_submitted_and_waited_for_in_the_triggerer(ray: RayServer, spec: Spec) -> None:
    before = time.time()
    wait = deferred(spec)
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
def test_a_job_under_way_is_attached_to(ray: RayServer, spec: Spec, status: str) -> None:
    name = StageJob.of("caption", spec).submission_id(0)
    ray.add(name, status)
    assert deferred(spec).trigger.submission_id == name
    assert list(ray.jobs) == [name]


def test_two_runs_share_the_job_that_prepares_their_golden_set(ray: RayServer, tmp_path: Any) -> None:
    first_spec, other_spec = spec_in(tmp_path, fingerprint="a" * 16), spec_in(tmp_path, fingerprint="b" * 16)
    names = {deferred(spec, "preprocess").trigger.submission_id for spec in (first_spec, other_spec)}
    assert names == set(ray.jobs)
    assert len(names) == 1


def test_losing_the_race_to_submit_is_attaching(ray: RayServer, spec: Spec) -> None:
    name = StageJob.of("caption", spec).submission_id(0)
    ray.add(name, "RUNNING")
    ray.unseen.add(name)
    assert deferred(spec).trigger.submission_id == name
    assert list(ray.jobs) == [name]


@pytest.mark.parametrize("status", ["FAILED", "STOPPED", "SUCCEEDED"])  # the last without its marker
def test_a_job_that_ended_without_its_result_is_followed_by_the_next(ray: RayServer, spec: Spec, status: str) -> None:
    job = StageJob.of("caption", spec)
    ray.add(job.submission_id(0), status)
    ray.add(job.submission_id(1), "FAILED")
    assert deferred(spec).trigger.submission_id == job.submission_id(2)
    assert ray.jobs[job.submission_id(2)]["status"] == "PENDING"


def test_runs_that_share_a_failed_job_meet_at_its_successor(ray: RayServer, tmp_path: Any) -> None:
    first_spec, other_spec = spec_in(tmp_path, fingerprint="a" * 16), spec_in(tmp_path, fingerprint="b" * 16)
    ray.add(StageJob.of("preprocess", first_spec).submission_id(0), "STOPPED")
    names = {deferred(spec, "preprocess").trigger.submission_id for spec in (first_spec, other_spec)}
    assert names == {StageJob.of("preprocess", first_spec).submission_id(1)}


def test_force_submits_although_the_result_is_there_but_once(ray: RayServer, tmp_path: Any) -> None:
    spec = spec_in(tmp_path, force="manual__1")
    finish(spec_in(tmp_path))
    finish(spec)
    name = deferred(spec).trigger.submission_id
    ray.add(name, "SUCCEEDED")
    assert operator(spec).execute(CONTEXT) == f"{spec.captions_uri}/forced/manual__1/manifest.json"
    assert list(ray.jobs) == [name]


@pytest.mark.parametrize("stage", ["caption", "evaluate"])
def test_what_stood_before_is_not_the_result_of_a_forced_job(ray: RayServer, tmp_path: Any, stage: str) -> None:
    spec = spec_in(tmp_path, force="manual__1")
    finish(spec_in(tmp_path), stage)
    with pytest.raises(RayJobFailed, match="left no"):
        operator(spec, stage).execute_complete(CONTEXT, event("SUCCEEDED"))


def judge(spec: Spec, outcome: str) -> str:
    marker = StageJob.of("evaluate", spec).marker
    objects.write(marker, record(spec, outcome).verdict.model_dump_json().encode())
    return marker


@pytest.mark.parametrize("force", [None, "manual__1"])
def test_an_incomplete_verdict_is_asked_for_again_past_the_job_that_left_it(
    ray: RayServer, tmp_path: Any, force: str | None
) -> None:
    spec = spec_in(tmp_path, force=force)
    job = StageJob.of("evaluate", spec)
    first = deferred(spec, "evaluate").trigger.submission_id
    ray.add(first, "SUCCEEDED")
    marker = judge(spec, "INCOMPLETE")
    assert operator(spec, "evaluate").execute_complete(CONTEXT, event("SUCCEEDED")) == marker, "it is a result"
    second = deferred(spec, "evaluate").trigger.submission_id
    assert (first, second) == (job.submission_id(0), job.submission_id(1))
    assert deferred(spec, "evaluate").trigger.submission_id == second, "two who ask share the new job"
    ray.add(second, "SUCCEEDED")
    judge(spec, "PASS")
    assert operator(spec, "evaluate").execute(CONTEXT) == marker
    assert list(ray.jobs) == [first, second]


def test_success_is_the_marker_not_the_status(ray: RayServer, spec: Spec) -> None:
    with pytest.raises(RayJobFailed, match=r"job-1 succeeded but left no .*/manifest.json; it is submitted anew"):
        operator(spec).execute_complete(CONTEXT, event("SUCCEEDED"))
    finish(spec)
    assert operator(spec).execute_complete(CONTEXT, event("SUCCEEDED")) == f"{spec.captions_uri}/manifest.json"


@pytest.mark.parametrize(("kind", "raises"), [("bad-input", InputError), ("trouble", RayJobFailed)])
def test_a_failure_says_what_the_job_said(spec: Spec, kind: str, raises: type[Exception]) -> None:
    fail(spec, "caption", kind, "checkpoint x: y is missing; do z")
    with pytest.raises(raises) as raised:
        operator(spec).execute_complete(CONTEXT, event("FAILED", metadata={"assay_spec": spec.uri}))
    assert str(raised.value) == "checkpoint x: y is missing; do z"


def test_exit_code_2_is_bad_input_even_without_a_word(spec: Spec) -> None:
    with pytest.raises(InputError, match="Ray job job-1: spec: nothing is there"):
        operator(spec).execute_complete(CONTEXT, event("FAILED", exit_code=2, message="spec: nothing\nis there"))


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (event("FAILED", message="Job supervisor\nactor died"), "failed and left no reason: Job supervisor actor died"),
        (event("FAILED"), "failed and left no reason: no message"),
        (event("LOST"), "is unknown to Ray: its head was restarted"),
        (event("TIMEOUT"), "was stopped: not done within 1:00:00"),
        (event("UNREACHABLE", message="Ray at x does not answer"), "Ray at x does not answer"),
    ],
)
def test_any_other_end_is_trouble_in_one_line(spec: Spec, told: dict[str, Any], line: str) -> None:
    with pytest.raises(RayJobFailed) as raised:
        operator(spec).execute_complete(CONTEXT, told)
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_try_that_made_parts_before_its_time_was_over_is_no_hang(ray: RayServer, spec: Spec) -> None:
    for number in range(3):
        wait = deferred(spec)
        objects.write(f"{spec.captions_uri}/parts/part-{number:05d}.parquet", b"captions")
        with pytest.raises(RayJobTimeout, match="but made progress"):
            operator(spec).execute_complete(CONTEXT, event("TIMEOUT"), **(wait.kwargs or {}))
    for raises in (RayJobTimeout, InputError):
        with pytest.raises(raises, match="ASSAY_RUN_HOURS"):
            operator(spec).execute_complete(CONTEXT, event("TIMEOUT"), **(deferred(spec).kwargs or {}))


def test_a_stop_from_elsewhere_is_answered_once(ray: RayServer, spec: Spec) -> None:
    job = StageJob.of("caption", spec)
    ray.add(job.submission_id(0), "STOPPED")
    with pytest.raises(TaskDeferred) as raised:
        operator(spec).execute_complete(CONTEXT, event("STOPPED"))
    assert raised.value.trigger.submission_id == job.submission_id(1)
    kept = raised.value.kwargs or {}
    assert kept["stops"] == 1
    with pytest.raises(RayJobFailed, match="was stopped, like the one before it, by a person or another run"):
        operator(spec).execute_complete(CONTEXT, event("STOPPED"), **kept)


def test_a_refused_token_is_bad_input(spec: Spec) -> None:
    with pytest.raises(InputError, match="refuses the token"):
        operator(spec).execute_complete(CONTEXT, event("REFUSED", message="Ray at x refuses the token"))


def test_a_spec_that_is_not_there_is_bad_input(ray: RayServer, tmp_path: Any) -> None:
    with pytest.raises(InputError, match="nothing is there"):
        operator(spec_in(tmp_path, write=False)).execute(CONTEXT)


def test_killing_the_task_stops_the_job_it_has_submitted(ray: RayServer, spec: Spec) -> None:
    task = operator(spec)
    task.on_kill()
    assert ray.stopped == []
    with pytest.raises(TaskDeferred):
        task.execute(CONTEXT)
    task.on_kill()
    assert ray.stopped == list(ray.jobs)


@pytest.fixture
def then(tmp_path: Any) -> Spec:
    """The spec of the checkpoint that comes next."""
    return spec_in(tmp_path / "root", fingerprint="a" * 16)


def ids(*specs: Spec) -> list[str]:
    """Those of the specs' first captions jobs."""
    return [StageJob.of("caption", spec).submission_id(0) for spec in specs]


def test_the_next_ones_job_is_submitted_behind_one_that_runs_and_not_waited_for(
    ray: RayServer, spec: Spec, then: Spec
) -> None:
    own, further = ids(spec, then)
    ray.add(own, "RUNNING")
    assert deferred(spec, then=then.uri).trigger.submission_id == own
    assert list(ray.jobs) == [own, further]
    assert ray.jobs[further]["entrypoint"] == f"{VARIABLE}={say()} python -u -m ray_jobs.caption --spec {then.uri}"
    assert ray.jobs[further]["metadata"] == {
        "assay_spec": then.uri,
        "airflow_dag": "validate_checkpoint",
        "airflow_run": "manual__1",
        "airflow_task": "caption",
    }
    assert deferred(then).trigger.submission_id == further, "its own run attaches to it"
    assert list(ray.jobs) == [own, further]


@pytest.mark.parametrize("status", [None, "PENDING"])
def test_it_cannot_overtake_one_that_does_not_run_yet(
    ray: RayServer, spec: Spec, then: Spec, status: str | None
) -> None:
    own, further = ids(spec, then)
    if status:
        ray.add(own, status)
    assert deferred(spec, then=then.uri).trigger.submission_id == own
    assert list(ray.jobs) == [own]
    finish(spec)
    marker = operator(spec, then=then.uri).execute_complete(CONTEXT, event("SUCCEEDED"))
    assert marker == f"{spec.captions_uri}/manifest.json"
    assert list(ray.jobs) == [own, further]


def test_it_is_submitted_as_well_when_this_one_is_complete(ray: RayServer, spec: Spec, then: Spec) -> None:
    finish(spec)
    assert operator(spec, then=then.uri).execute(CONTEXT) == f"{spec.captions_uri}/manifest.json"
    assert list(ray.jobs) == ids(then)


def test_it_is_submitted_as_well_when_the_job_that_was_forced_is_over(ray: RayServer, tmp_path: Any) -> None:
    spec, then = spec_in(tmp_path, force="manual__1"), spec_in(tmp_path, fingerprint="a" * 16)
    finish(spec)
    ray.add(ids(spec)[0], "SUCCEEDED")
    operator(spec, then=then.uri).execute(CONTEXT)
    assert list(ray.jobs) == ids(spec, then)


@pytest.mark.parametrize("status", ["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "STOPPED"])
def test_what_became_of_it_is_for_its_own_run(ray: RayServer, spec: Spec, then: Spec, status: str) -> None:
    own, further = ids(spec, then)
    ray.add(own, "RUNNING")
    ray.add(further, status)
    deferred(spec, then=then.uri)
    assert {name: job["status"] for name, job in ray.jobs.items()} == {own: "RUNNING", further: status}


def test_what_the_next_one_has_is_not_asked_for(ray: RayServer, spec: Spec, then: Spec) -> None:
    finish(spec)
    finish(then)
    operator(spec, then=then.uri).execute(CONTEXT)
    assert ray.jobs == {}


NOTHING = "Nothing was submitted for the run that follows: "


def test_submitting_it_a_second_time_means_nothing(
    ray: RayServer, spec: Spec, then: Spec, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(spec)
    for _ in range(2):
        operator(spec, then=then.uri).execute(CONTEXT)
    ray.unseen.update(ids(then))  # another task submits it between the look and the request
    operator(spec, then=then.uri).execute(CONTEXT)
    assert list(ray.jobs) == ids(then)
    assert ray.unseen == set()
    told = capsys.readouterr().out
    assert (told.count("for the run that follows"), NOTHING in told) == (1, False)


def test_killing_the_task_leaves_the_next_ones_job(ray: RayServer, spec: Spec, then: Spec) -> None:
    own, further = ids(spec, then)
    ray.add(own, "RUNNING")
    task = operator(spec, then=then.uri)
    with pytest.raises(TaskDeferred):
        task.execute(CONTEXT)
    task.on_kill()
    assert further in ray.jobs
    assert ray.stopped == [own]


@pytest.mark.parametrize("status", ["FAILED", "STOPPED", "TIMEOUT"])
def test_when_this_ones_job_has_no_result_the_next_one_is_left_alone(
    ray: RayServer, spec: Spec, then: Spec, status: str
) -> None:
    own, further = ids(spec, then)
    ray.add(own, "RUNNING")
    deferred(spec, then=then.uri)
    with pytest.raises(RayJobFailed):
        operator(spec, then=then.uri).execute_complete(CONTEXT, event(status), stops=1)
    assert ray.jobs[further]["status"] == "PENDING"
    assert ray.stopped == []


def test_a_next_one_that_cannot_be_submitted_is_a_line(
    ray: RayServer, spec: Spec, then: Spec, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(spec)
    objects.delete(then.uri)
    operator(spec, then=then.uri).execute(CONTEXT)
    assert f"{NOTHING}spec {then.uri}: nothing is there" in capsys.readouterr().out
    objects.write(then.uri, then.model_dump_json().encode())
    ray.broken = 1
    assert operator(spec, then=then.uri).execute(CONTEXT) == f"{spec.captions_uri}/manifest.json"
    assert f"{NOTHING}Ray at http://127.0.0.1:{ray.port} answers 500" in capsys.readouterr().out
    assert ray.jobs == {}


def test_a_task_that_is_ended_meanwhile_ends(spec: Spec, then: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    def timed_out(uri: str) -> Spec:
        if uri == then.uri:
            raise AirflowTaskTimeout
        return spec

    finish(spec)
    monkeypatch.setattr("assay_airflow.operators.ray_job.load_spec", timed_out)
    with pytest.raises(AirflowTaskTimeout):
        operator(spec, then=then.uri).execute(CONTEXT)


def test_the_specs_are_templates() -> None:
    assert RayJobOperator.template_fields == ("spec_uri", "next_spec_uri")


def test_the_link_is_what_was_pushed(monkeypatch: pytest.MonkeyPatch) -> None:
    link = RayJobLink()
    target = "assay_airflow.operators.ray_job.XCom.get_value"
    monkeypatch.setattr(target, lambda ti_key, key: {link.xcom_key: "http://ray/#/jobs/a"}.get(key))
    assert link.get_link(None, ti_key=None) == "http://ray/#/jobs/a"
    monkeypatch.setattr(target, lambda ti_key, key: None)
    assert link.get_link(None, ti_key=None) == ""
