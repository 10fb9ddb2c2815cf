"""The captions job of the next checkpoint, which a caption task submits behind its own."""

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowTaskTimeout, TaskDeferred
from assay_airflow.exceptions import RayJobFailed
from assay_airflow.stages import StageJob
from ray_job_tasks import CONTEXT, defer, make_event, make_operator, write_marker
from ray_server import RayServer
from specs import make_spec

from ray_jobs.contract.spec import Spec
from ray_jobs.job.handshake import VARIABLE, say
from ray_jobs.storage import objects


@pytest.fixture
def next_spec(tmp_path: Any) -> Spec:
    """The spec of the next checkpoint."""
    return make_spec(tmp_path / "root", fingerprint="a" * 16)


def first_job_ids(*specs: Spec) -> list[str]:
    """The submission ids of the specs' first captions jobs."""
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
    write_marker(spec)
    marker = make_operator(spec, next_uri=next_spec.uri).execute_complete(CONTEXT, make_event("SUCCEEDED"))
    assert marker == f"{spec.captions_uri}/manifest.json"
    assert list(ray.jobs) == [job_id, next_job_id]


def test_the_next_job_is_submitted_if_this_stage_is_complete(ray: RayServer, spec: Spec, next_spec: Spec) -> None:
    write_marker(spec)
    assert make_operator(spec, next_uri=next_spec.uri).execute(CONTEXT) == f"{spec.captions_uri}/manifest.json"
    assert list(ray.jobs) == first_job_ids(next_spec)


def test_the_next_job_is_submitted_if_the_forced_job_has_ended(ray: RayServer, tmp_path: Any) -> None:
    spec, next_spec = make_spec(tmp_path, force="manual__1"), make_spec(tmp_path, fingerprint="a" * 16)
    write_marker(spec)
    ray.add(first_job_ids(spec)[0], "SUCCEEDED")
    make_operator(spec, next_uri=next_spec.uri).execute(CONTEXT)
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
    write_marker(spec)
    write_marker(next_spec)
    make_operator(spec, next_uri=next_spec.uri).execute(CONTEXT)
    assert ray.jobs == {}


NOTHING = "Nothing was submitted for the run that follows: "


def test_the_next_job_is_submitted_once(
    ray: RayServer, spec: Spec, next_spec: Spec, capsys: pytest.CaptureFixture[str]
) -> None:
    write_marker(spec)
    for _ in range(2):
        make_operator(spec, next_uri=next_spec.uri).execute(CONTEXT)
    ray.unseen.update(first_job_ids(next_spec))  # another task submits the job between this task's look and its request
    make_operator(spec, next_uri=next_spec.uri).execute(CONTEXT)
    assert list(ray.jobs) == first_job_ids(next_spec)
    assert ray.unseen == set()
    output = capsys.readouterr().out
    assert (output.count("for the run that follows"), NOTHING in output) == (1, False)


def test_killing_the_task_does_not_stop_the_next_job(ray: RayServer, spec: Spec, next_spec: Spec) -> None:
    job_id, next_job_id = first_job_ids(spec, next_spec)
    ray.add(job_id, "RUNNING")
    task = make_operator(spec, next_uri=next_spec.uri)
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
        make_operator(spec, next_uri=next_spec.uri).execute_complete(CONTEXT, make_event(status), stops=1)
    assert ray.jobs[next_job_id]["status"] == "PENDING"
    assert ray.stopped == []


def test_a_next_job_that_cannot_be_submitted_is_one_line_and_no_failure(
    ray: RayServer, spec: Spec, next_spec: Spec, capsys: pytest.CaptureFixture[str]
) -> None:
    write_marker(spec)
    objects.delete(next_spec.uri)
    make_operator(spec, next_uri=next_spec.uri).execute(CONTEXT)
    assert f"{NOTHING}spec {next_spec.uri}: nothing is there" in capsys.readouterr().out
    objects.write(next_spec.uri, next_spec.model_dump_json().encode())
    ray.broken = 1
    assert make_operator(spec, next_uri=next_spec.uri).execute(CONTEXT) == f"{spec.captions_uri}/manifest.json"
    assert f"{NOTHING}Ray at http://127.0.0.1:{ray.port} answers 500" in capsys.readouterr().out
    assert ray.jobs == {}


def test_a_task_timeout_while_submitting_the_next_job_ends_the_task(
    spec: Spec, next_spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_or_time_out(uri: str) -> Spec:
        if uri == next_spec.uri:
            raise AirflowTaskTimeout
        return spec

    write_marker(spec)
    monkeypatch.setattr("assay_airflow.operators.ray_job.load_spec", load_or_time_out)
    with pytest.raises(AirflowTaskTimeout):
        make_operator(spec, next_uri=next_spec.uri).execute(CONTEXT)
