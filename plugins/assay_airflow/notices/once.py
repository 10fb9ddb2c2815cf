"""Tell a message once: a marker in the storage root says that it was told.

The marker is made by a conditional create, so two tasks that find the same thing tell it once. If no channel takes the
message, the marker says so, and the next task that finds it tells it.
"""

import json
from datetime import UTC, datetime

from assay_airflow.notices import channels
from assay_airflow.notices.message import Message
from ray_jobs.contract.ids import slug
from ray_jobs.storage import index, objects, uris

MAX_BYTES = 1 << 16


def tell_once(root: str, checkpoint_folder: str, message: Message) -> bool:
    """Send the message unless it was sent for this checkpoint, suite and kind. Returns whether somebody got it now."""
    if not channels.list_channels():
        return False
    uri = marker_uri(root, checkpoint_folder, message)
    marker = {"told_at": datetime.now(UTC).isoformat(), "sentence": message.sentence, "sent": True}
    if not objects.create(uri, json.dumps(marker).encode()) and _was_sent(uri):
        return False
    if channels.send(message):
        objects.write(uri, json.dumps(marker).encode())
        return True
    objects.write(uri, json.dumps(marker | {"sent": False}).encode())
    return False


def marker_uri(root: str, checkpoint_folder: str, message: Message) -> str:
    name = f"notice-{slug(message.suite)}-{message.kind}.json"
    return f"{uris.make_absolute(root)}/runs/{checkpoint_folder}/{name}"


def _was_sent(uri: str) -> bool:
    """Whether the marker says so. One that cannot be understood counts as sent, so that nothing is told twice."""
    try:
        marker = json.loads(objects.read(uri, at_most=MAX_BYTES))
    except ValueError:
        return True
    return not (isinstance(marker, dict) and marker.get("sent") is False)


def count_in_a_row(root: str, suite: str, series_id: str, outcome: str, checkpoint_folder: str) -> tuple[int, bool]:
    """How many checkpoints of the series ended with this outcome one after the other, this one last.

    Also returns whether the one before it ended so on the same day (UTC). A series that is known to be bad is told at
    its first checkpoint, and then once a day.
    """
    entries = [entry for entry in index.list_entries(uris.make_absolute(root), suite) if entry.series_id == series_id]
    latest = {entry.checkpoint_folder: entry for entry in entries}  # in order of time, so the last one counts
    current = latest.pop(checkpoint_folder, None)
    row = 1
    same_day = False
    for entry in sorted(latest.values(), key=lambda entry: entry.published_at, reverse=True):
        if current and entry.published_at > current.published_at:
            continue
        if entry.outcome != outcome:
            break
        if row == 1 and current:
            same_day = entry.published_at[:8] == current.published_at[:8]
        row += 1
    return row, same_day
