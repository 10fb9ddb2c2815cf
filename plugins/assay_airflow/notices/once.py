"""Tell a message once: a marker in the storage root says that it was told.

The marker is made by a conditional create, so two tasks that find the same thing tell it once. If no channel takes the
message, or the task is killed while it sends, the next task that finds the same thing tells it.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from assay_airflow.notices import channels
from assay_airflow.notices.message import Message
from ray_jobs.contract.ids import slug
from ray_jobs.storage import index, objects, uris

MAX_BYTES = 1 << 16
SENDING = timedelta(minutes=10)  # a marker without an end that is older is of a task that was killed


def tell_once(root: str, checkpoint_folder: str, message: Message) -> bool:
    """Send the message unless it was sent for this checkpoint, suite and kind. Returns whether somebody got it now."""
    if not channels.list_channels():
        return False
    return tell_together(root, [(checkpoint_folder, message)])


def tell_together(root: str, messages: list[tuple[str, Message]]) -> bool:
    """Send one message about several checkpoints: the first message, and how many others there are.

    Each message comes with the folder of its checkpoint. Those that were sent before are left out.
    """
    to_send = [
        (folder, message) for folder, message in messages if _may_send(marker_uri(root, folder, message), message)
    ]
    if not to_send:
        return False
    first = to_send[0][1]
    others = f", and {len(to_send) - 1} more" if len(to_send) > 1 else ""
    was_sent = channels.send(replace(first, sentence=first.sentence + others)) > 0
    for folder, message in to_send:
        _mark(marker_uri(root, folder, message), message, was_sent)
    return was_sent


def find_untold(root: str, messages: list[tuple[str, Message]]) -> list[tuple[str, Message]]:
    """The messages that were not sent yet."""
    return [(folder, message) for folder, message in messages if not _was_sent(marker_uri(root, folder, message))]


def _may_send(uri: str, message: Message) -> bool:
    """Whether this task may send the message: it made the marker, or nobody took the message before."""
    return objects.create(uri, _build_marker(message, was_sent=None)) or not _was_sent(uri)


def _mark(uri: str, message: Message, was_sent: bool) -> None:
    objects.write(uri, _build_marker(message, was_sent))


def _build_marker(message: Message, was_sent: bool | None) -> bytes:
    """The marker's bytes; None: the message is being sent."""
    marker = {"told_at": datetime.now(UTC).isoformat(), "sentence": message.sentence, "sent": was_sent}
    return json.dumps(marker).encode()


def marker_uri(root: str, checkpoint_folder: str, message: Message) -> str:
    name = f"notice-{slug(message.suite)}-{message.kind}.json"
    return f"{uris.make_absolute(root)}/runs/{checkpoint_folder}/{name}"


def _was_sent(uri: str) -> bool:
    """Whether the marker says so, or another task is sending it. An unreadable marker counts as sent: no storm."""
    try:
        marker: Any = json.loads(objects.read(uri, at_most=MAX_BYTES))
        if marker["sent"] is None:
            return datetime.now(UTC) - datetime.fromisoformat(marker["told_at"]) < SENDING
    except FileNotFoundError:
        return False
    except (ValueError, TypeError, KeyError):
        return True
    return marker["sent"] is not False


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
