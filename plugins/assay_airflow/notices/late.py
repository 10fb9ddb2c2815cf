"""Find checkpoints that have been complete for hours and have no verdict, and tell people once of each.

Only checkpoints that became complete between ASSAY_LATE_HOURS and a day more ago count, so that a folder of old
checkpoints makes no storm. One message names the first and counts the others.
"""

import os

from airflow.sdk.exceptions import AirflowSkipException

from assay_airflow import fingerprint_cache, retries, router
from assay_airflow.listings import list_checkpoints
from assay_airflow.notices.channels import list_channels
from assay_airflow.notices.message import Message, build_link
from assay_airflow.notices.once import find_untold, tell_together
from assay_airflow.tasks import storage_root
from ray_jobs.checkpoints.adapter_base import is_adapter
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import check_name, printable
from ray_jobs.planning.suites import load_suite
from ray_jobs.storage import index, uris
from ray_jobs.storage.odd_items import raise_outage

HOUR_S = 3600.0
WINDOW_H = 24.0


def read_patience() -> float:
    """ASSAY_LATE_HOURS: after how many hours a verdict is late. Raises InputError if that is no positive number."""
    text = os.environ.get("ASSAY_LATE_HOURS") or "6"
    try:
        hours = float(text)
    except ValueError:
        hours = 0.0
    if not hours > 0:
        raise InputError(f"ASSAY_LATE_HOURS is {printable(text, 40)!r}; set it to a number of hours above 0")
    return hours


def tell_late_verdicts(suite: str | None = None) -> list[str]:
    """Tell of the late verdicts of the watched folder. Returns the names of the checkpoints that are told now.

    Raises AirflowSkipException if no folder is watched, if nobody is to be told, or if no verdict is late.
    """
    uri = router.read_checkpoints_uri()
    if uri is None or not list_channels():
        raise AirflowSkipException("ASSAY_CHECKPOINTS or ASSAY_NOTIFY is not set: nobody is told")
    hours, root, suite = read_patience(), uris.make_absolute(storage_root()), suite or router.read_suite_name()
    late = [
        (checkpoint.folder, describe(checkpoint, suite, hours)) for checkpoint in find_late(root, suite, uri, hours)
    ]
    untold = find_untold(root, late)
    if not untold:
        raise AirflowSkipException(f"no verdict is late by more than {hours:g} h, or people know")
    tell_together(root, untold)
    return [message.checkpoint for _, message in untold]


def find_late(root: str, suite: str, uri: str, hours: float) -> list[Checkpoint]:
    """Complete checkpoints below `uri` without a record in the suite, whose last file is that old."""
    recorded = {entry.checkpoint_folder for entry in index.list_entries(root, retries.resolve_suite_name(suite))}
    late = []
    for name, listing in list_checkpoints(uri).items():
        if listing.age is None or not hours <= listing.age / HOUR_S <= hours + WINDOW_H:
            continue
        checkpoint = _resolve(root, suite, f"{uri}/{name}", name)
        if checkpoint and checkpoint.folder not in recorded:
            late.append(checkpoint)
    return late


def describe(checkpoint: Checkpoint, suite: str, hours: float) -> Message:
    sentence = f"No verdict of {checkpoint.name} (suite {suite}) within {hours:g} h after it was complete"
    return Message("late", checkpoint.name, suite, printable(sentence, 300), build_link("dags/checkpoint_router"))


def _resolve(root: str, suite: str, uri: str, name: str) -> Checkpoint | None:
    """The checkpoint, or None for a folder that is none: the router's log says why."""
    try:
        check_name(name, "checkpoint")
        base_model = load_suite(suite).engine.base_model if is_adapter(uri) else None
        return fingerprint_cache.resolve(root, uri, base_model)
    except Exception as error:
        raise_outage(error, uri)
        return None
