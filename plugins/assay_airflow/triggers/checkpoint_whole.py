"""Wait until a checkpoint is whole and has stopped changing."""

# mypy: allow-untyped-calls

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from assay_airflow.triggers.waiting import wait
from ray_jobs.checkpoints.files import NeverWhole
from ray_jobs.checkpoints.inspect import Incomplete, check_whole
from ray_jobs.contract.ids import digest
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import objects

QUIET_LOOKS = 12  # a minute: of a file that grows in a directory every look sees more
QUIET_LOOKS_ON_S3 = 120  # ten minutes: S3 shows no large file, such as an optimizer's, before its upload has ended


class CheckpointWholeTrigger(BaseTrigger):
    """Ready when two looks, `poll_interval` apart, find the checkpoint whole and its listing the same.

    A folder that holds another form of a model, and that might be an upload under way, ends as bad input once its
    listing has been the same for QUIET_LOOKS, or on S3 for QUIET_LOOKS_ON_S3.

    `deadline` is for an upload under way; until `appears_by` there may be nothing at all. Both in epoch seconds.
    """

    def __init__(self, uri: str, deadline: float, appears_by: float, poll_interval: float = 5.0) -> None:
        super().__init__()
        self.uri, self.deadline, self.appears_by, self.poll_interval = uri, deadline, appears_by, poll_interval
        self._listing: str | None = None
        self._quiet = 0

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
        yield TriggerEvent(await wait(self.look, self.poll_interval, self.deadline, self.log.info))

    async def look(self) -> str | None:
        return await asyncio.to_thread(self._look)

    def _look(self) -> str | None:
        before, self._listing = self._listing, listing(self.uri)
        if self._listing is None:
            if time.time() >= self.appears_by:
                raise InputError(f"checkpoint {self.uri}: nothing is there; check the URI, or trigger again once it is")
            return f"checkpoint {self.uri}: nothing is there yet"
        try:
            check_whole(self.uri)
        except Incomplete as missing:
            return str(missing)
        except NeverWhole as fault:
            self._quiet = self._quiet + 1 if self._listing == before else 0
            on_s3 = objects.is_s3(self.uri)
            if self._quiet >= (QUIET_LOOKS_ON_S3 if on_s3 else QUIET_LOOKS):
                raise
            how_long = "ten minutes" if on_s3 else "a minute"
            return f"{fault} (looking again for {how_long}, whether an upload is under way)"
        return None if self._listing == before else f"checkpoint {self.uri}: whole; looking again whether it changes"


def listing(uri: str) -> str | None:
    """A digest of names, sizes and versions that changes when any file does; None where nothing is."""
    found = [(entry.key, entry.size, entry.version) for entry in objects.entries(uri)]
    return digest(found) if found else None
