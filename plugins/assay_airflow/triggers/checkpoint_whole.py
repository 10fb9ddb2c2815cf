"""Wait until a checkpoint is complete and does not change any more."""

# mypy: allow-untyped-calls

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import TriggerEvent

from assay_airflow.triggers.polling import PollingTrigger, poll_until_ready
from ray_jobs.checkpoints.errors import Incomplete, NeverWhole
from ray_jobs.checkpoints.inspect import require_complete
from ray_jobs.contract.ids import digest
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import object_listing, uris

QUIET_POLLS = 12  # a minute: in a directory, every poll sees a growing file change
QUIET_POLLS_ON_S3 = 120  # ten minutes: S3 shows no large file, such as an optimizer's, before its upload has ended
SETTLED_S = 60.0
SETTLED_PARTS_S = 600.0  # S3 dates an object that is uploaded in parts by the start of its upload


class CheckpointWholeTrigger(PollingTrigger):
    """Ready if two polls, `poll_interval` apart, find the checkpoint complete and its listing the same.

    One poll is enough if no file has changed for SETTLED_S seconds, by the clock of the store. A file whose time is
    unknown or in the future never counts as unchanged. If the clock of a file server is a minute late, a growing
    checkpoint may pass. Then the fingerprint, which is checked again when the weights are loaded, is the wrong one.

    A folder with another form of a model may be an upload under way. It ends as bad input if its listing stays the same
    for QUIET_POLLS polls, or on S3 for QUIET_POLLS_ON_S3.

    `deadline` limits the wait for an upload. Until `appears_by` the folder may be empty. Both are in epoch seconds.
    """

    def __init__(self, uri: str, deadline: float, appears_by: float, poll_interval: float = 5.0) -> None:
        super().__init__()
        self.uri, self.deadline, self.appears_by, self.poll_interval = uri, deadline, appears_by, poll_interval
        self._listing: str | None = None
        self._quiet = 0
        self.is_whole = False  # at the last poll

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            "assay_airflow.triggers.checkpoint_whole.CheckpointWholeTrigger",
            {
                "uri": self.uri,
                "deadline": self.deadline,
                "appears_by": self.appears_by,
                "poll_interval": self.poll_interval,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        yield TriggerEvent(await poll_until_ready(self.poll, self.poll_interval, self.deadline, self.log.info))

    async def poll(self) -> str | None:
        return await asyncio.to_thread(self._describe_missing)

    def _describe_missing(self) -> str | None:
        files = list(object_listing.iterate_entries(self.uri))
        before, self._listing = self._listing, digest_listing(files)
        self.is_whole = False
        if self._listing is None:
            if time.time() >= self.appears_by:
                raise InputError(f"checkpoint {self.uri}: nothing is there; check the URI, or trigger again once it is")
            return f"checkpoint {self.uri}: nothing is there yet"
        try:
            require_complete(self.uri)
        except Incomplete as missing:
            return str(missing)
        except NeverWhole as fault:
            self._quiet = self._quiet + 1 if self._listing == before else 0
            on_s3 = uris.is_s3(self.uri)
            if self._quiet >= (QUIET_POLLS_ON_S3 if on_s3 else QUIET_POLLS):
                raise
            how_long = "ten minutes" if on_s3 else "a minute"
            return f"{fault} (looking again for {how_long}, whether an upload is under way)"
        self.is_whole = True
        if self._listing == before or all(map(is_settled, files)):
            return None
        return f"checkpoint {self.uri}: whole; looking again whether it changes"


def digest_listing(files: list[object_listing.Entry]) -> str | None:
    """A digest of names, sizes and versions that changes when any file does. None if there is no file."""
    return digest([(entry.key, entry.size, entry.version) for entry in files]) if files else None


def is_settled(file: object_listing.Entry) -> bool:
    """Whether the file has not changed for so long that no writer is at work on the checkpoint."""
    is_in_parts = "-" in file.version  # in the ETag of such an object; the version of a local file is a number
    return file.age is not None and file.age >= (SETTLED_PARTS_S if is_in_parts else SETTLED_S)
