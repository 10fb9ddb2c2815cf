"""A stage whose job took too long twice waits for a person, like bad input.

The first time leaves `timed-out-<stage>.json` in the run's folder; the second takes it away and leaves the
`failure.json` that the router reads, so that neither Airflow nor the router asks again by itself. A person who clears
the task has two tries again.
"""

from datetime import UTC, datetime

from assay_airflow.failures import RayJobTimeout
from ray_jobs import storage
from ray_jobs.contract import BadInput, Failure, Spec


def fail_timeout(stage: str, spec: Spec, message: str) -> None:
    """Raises RayJobTimeout the first time, BadInput the second."""
    uri = _note_uri(stage, spec)
    if not storage.exists(uri):
        _write(uri, stage, "trouble", message)
        raise RayJobTimeout(message)
    message = f"timed out twice: {message}; find what it hangs on in its log, then clear the task"
    storage.delete(uri)
    _write(f"{spec.run_uri}/failure.json", stage, "bad-input", message)
    raise BadInput(message)


def forget_timeout(stage: str, spec: Spec) -> None:
    """After a success."""
    storage.delete(_note_uri(stage, spec))


def _note_uri(stage: str, spec: Spec) -> str:
    return f"{spec.run_uri}/timed-out-{stage}.json"


def _write(uri: str, stage: str, kind: str, message: str) -> None:
    failure = Failure.model_validate({"stage": stage, "kind": kind, "message": message, "at": datetime.now(UTC)})
    storage.write(uri, failure.model_dump_json(indent=1).encode())
