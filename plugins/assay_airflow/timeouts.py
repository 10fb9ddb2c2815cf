"""Stop retrying a stage after two timeouts without progress. Then a person must act, as after an InputError.

A try that left new files (parts, judge answers) does not hang: its job is submitted again within the run and continues.
The first try without new files leaves `timed-out-<stage>.json` in the run's folder. The second one replaces it by the
`failure.json` that the router reads, so neither Airflow nor the router retries. A person who clears the task gets two
new tries.
"""

import hashlib
from datetime import UTC, datetime

from assay_airflow.exceptions import RayJobTimeout
from ray_jobs.contract.artifacts import Failure
from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import json_files, object_listing, objects
from ray_jobs.storage.odd_items import describe

REMEDY = "ASSAY_RUN_HOURS gives each job more time"


def digest_progress(stage: str, spec: Spec) -> str | None:
    """A digest of the names below the stage's folders, to compare before and after a try. None if listing fails.

    The digest covers the names and not their number, because the judge's answers are merged into fewer files now and
    then.
    """
    folders = {
        "preprocess": [spec.golden_uri],
        "caption": [spec.captions_uri],
        "evaluate": [spec.scores_uri, spec.judge_uri],
    }.get(stage, [])
    names = hashlib.sha256()
    try:
        for folder in folders:
            for entry in object_listing.iterate_entries(folder):
                names.update(f"{folder}/{entry.key}\n".encode(errors="surrogateescape"))
    except Exception as error:  # the job does not depend on this listing
        print(f"{stage}: its progress is unknown: {describe(error)}")
        return None
    return names.hexdigest()


def raise_timeout(stage: str, spec: Spec, message: str, before: str | None = None) -> None:
    """Raises RayJobTimeout after a first timeout or after progress, and InputError after a second without progress.

    `before` is the digest that `digest_progress` returned when the try began.
    """
    now = digest_progress(stage, spec) if before else None
    if now and now != before:
        forget_timeout(stage, spec)
        raise RayJobTimeout(f"{message}, but made progress: it goes on from there; {REMEDY}")
    uri = _note_uri(stage, spec)
    if not objects.exists(uri):
        _write(uri, stage, "trouble", message)
        raise RayJobTimeout(f"{message}; {REMEDY}")
    message = (
        f"timed out twice: {message}; find what it hangs on in its log, or, if it is slow, raise ASSAY_RUN_HOURS; "
    )
    message += "then clear the task"
    _write(f"{spec.run_uri}/failure.json", stage, "bad-input", message)
    forget_timeout(stage, spec)
    raise InputError(message)


def forget_timeout(stage: str, spec: Spec) -> None:
    """Delete the note of a timeout. Raises nothing, because a note that stays costs one try at most."""
    uri = _note_uri(stage, spec)
    try:
        if objects.exists(uri):  # an identity without the right to delete mostly has nothing to delete
            objects.delete(uri)
    except Exception as error:
        print(f"{uri}: stays there: {describe(error)}")


def _note_uri(stage: str, spec: Spec) -> str:
    return f"{spec.run_uri}/timed-out-{stage}.json"


def _write(uri: str, stage: str, kind: str, message: str) -> None:
    failure = Failure.model_validate({"stage": stage, "kind": kind, "message": message, "at": datetime.now(UTC)})
    json_files.replace(uri, failure)
