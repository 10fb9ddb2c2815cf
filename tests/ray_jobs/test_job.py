import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import RayTaskError
from samples import checkpoint_files, make_spec, upload

from ray_jobs.checkpoints import inspect
from ray_jobs.checkpoints.errors import Incomplete
from ray_jobs.contract.artifacts import Failure
from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.job import frame
from ray_jobs.runtime.progress import Progress
from ray_jobs.storage import objects


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spec:
    monkeypatch.setattr(frame, "connect", lambda: None)
    spec = make_spec(root=str(tmp_path))
    objects.write(spec.uri, spec.model_dump_json().encode())
    return spec


def run_job(spec: Spec, error: BaseException | None) -> tuple[int, Failure | None]:
    def work(_: Spec) -> None:
        if error:
            raise error

    code = frame.run("caption", work, spec.uri)
    uri = f"{spec.run_uri}/failure.json"
    return code, Failure.model_validate_json(objects.read(uri)) if objects.exists(uri) else None


def wrap_in_ray_error(error: Exception) -> Exception:
    """The error as a Ray task raises it: in the cause of the cause."""
    middle, outer = RuntimeError("in a task"), RuntimeError("Failed to execute the node")
    middle.cause = error  # type: ignore[attr-defined]
    outer.__cause__ = middle
    return outer


@pytest.mark.parametrize("which", ["checkpoint", "judge", "clip"])
def test_a_reader_that_comes_upon_a_deleted_file_says_so(spec: Spec, tmp_path: Path, which: str) -> None:
    model = upload(str(tmp_path / "m"), checkpoint_files())
    changed_spec = spec.model_copy(update={which: inspect.resolve(model)})
    objects.write(changed_spec.uri, changed_spec.model_dump_json().encode())
    error = wrap_in_ray_error(
        Incomplete(f"checkpoint {model}: config.json went away while it was read; wait for the upload")
    )
    code, failure = run_job(changed_spec, error)
    assert failure
    assert (code, failure.message.partition("; ")[0]) == (
        2,
        f"checkpoint {model}: config.json went away while it was read",
    )
    objects.delete(f"{model}/config.json")
    code, failure = run_job(changed_spec, error)
    assert failure
    assert code == 2
    assert failure.message.startswith(f"checkpoint {model}: config.json was deleted since this run was planned; keep ")


@pytest.mark.parametrize(
    ("error", "code", "kind", "message"),
    [
        (InputError("no such thing"), 2, "bad-input", "no such thing"),
        (Incomplete("shard 2 is missing"), 2, "bad-input", "shard 2 is missing"),
        (RetryableError("the network"), 1, "trouble", "the network"),
        (wrap_in_ray_error(InputError("no such thing")), 2, "bad-input", "no such thing"),
        (wrap_in_ray_error(RetryableError("the network")), 1, "trouble", "the network"),
        (
            RayTaskError("f", "a\ntraceback", InputError("in a worker")).as_instanceof_cause(),
            2,
            "bad-input",
            "in a worker",
        ),
        (InputError("in a task\nFailed to apply UDF transform\nTo change it"), 2, "bad-input", "in a task"),
        (KeyError("x"), 1, "trouble", "KeyError: 'x'"),
        (RuntimeError("first\nsecond\n"), 1, "trouble", "RuntimeError: second"),
        (RuntimeError(), 1, "trouble", "RuntimeError: no message"),
    ],
)
def test_a_failure_is_reported_by_exit_code_line_and_json(
    spec: Spec, error: Exception, code: int, kind: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "assay")
    exit_code, failure = run_job(spec, error)
    assert failure
    assert (exit_code, failure.kind, failure.message, failure.stage) == (code, kind, message, "caption")
    assert [line for line in caplog.messages if line.endswith(f": {message}") and line.startswith("caption failed")]


def test_success_takes_an_older_failure_away(spec: Spec) -> None:
    assert run_job(spec, RetryableError("x"))[0] == 1
    assert run_job(spec, None) == (0, None)


def test_a_spec_that_is_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    uri = str(tmp_path / "spec.json")
    assert frame.run("caption", lambda _: None, uri) == 2
    assert f"spec {uri}: nothing is there" in caplog.text


def test_a_failure_that_cannot_be_written_is_still_reported(
    spec: Spec, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(uri: str, data: bytes) -> Any:
        raise InputError("the disk is full")

    monkeypatch.setattr(objects, "write", full)
    assert run_job(spec, InputError("first")) == (2, None)
    assert "first" in caplog.text
    assert "could not write" in caplog.text


def test_progress_logs_the_rows_done(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "assay")
    progress = Progress("captions", 100, done=40, every=0.0)
    progress.add(30, "2 failed in part-00001")
    progress.add(30)
    assert caplog.messages[0] == "captions: resuming, 40 of 100 images are done"
    assert caplog.messages[1].startswith("captions: 70/100 images (70%), ")
    assert caplog.messages[1].endswith(", 2 failed in part-00001")
    assert caplog.messages[2].startswith("captions: 100/100 images (100%), ")


@pytest.mark.parametrize("slow", ["ray.data", "torch", "transformers", "vllm"])
def test_a_captions_job_does_not_wait_for_an_import_that_it_does_not_need(slow: str) -> None:
    code = f"import sys, ray_jobs.caption, ray_jobs.job.frame; sys.exit({slow!r} in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("logs_shown", "workers_left"), [("1", []), ("", [ray.shutdown])])
def test_a_job_waits_for_workers_logs_only_when_they_are_shown(
    monkeypatch: pytest.MonkeyPatch, logs_shown: str, workers_left: list[Any]
) -> None:
    at_exit: list[Any] = []
    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.setenv("ASSAY_WORKER_LOGS", logs_shown)
    monkeypatch.setattr("ray_jobs.job.frame.ray.init", lambda *_, **__: None)
    monkeypatch.setattr("ray_jobs.job.frame.atexit.register", at_exit.append)
    frame.connect()
    assert at_exit == workers_left
