"""Watch the folder of checkpoints. Fire an event when a checkpoint becomes complete, or complete with new content."""

# mypy: allow-untyped-calls

import asyncio
import os
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from assay_airflow import router
from assay_airflow.new_folders import NewFolders
from assay_airflow.odd_folders import OddFolders
from ray_jobs.storage.odd_items import describe

ANNOUNCED = "announced"
MAX_PAUSE_S = 900.0
LOOK_S = 5.0  # seconds between two looks for new folders
MAX_NAMED = 1000  # per event, which Airflow stores; the router lists the folder itself


class CheckpointPrefixTrigger(BaseEventTrigger):
    """Fires one event per poll or look that finds new checkpoints.

    Every ASSAY_WATCH_SECONDS a poll lists every file below the folder. A checkpoint is new if two polls in a row find
    it the same. Between the polls, every LOOK_S seconds, a look finds new checkpoints earlier (`new_folders.py`).

    Reads ASSAY_CHECKPOINTS and ASSAY_WATCH_SECONDS (60) in the triggerer. Never raises, because Airflow restarts a
    failed watcher after two seconds, for ever. It logs an error and doubles the pause instead.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, str] = {}
        self._odd = OddFolders()
        self._new_folders = NewFolders()

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return ("assay_airflow.triggers.checkpoint_prefix.CheckpointPrefixTrigger", {})

    async def run(self) -> AsyncIterator[TriggerEvent]:
        outage_pause = interval = float(os.environ.get("ASSAY_WATCH_SECONDS", "60"))
        next_poll = 0.0
        while True:
            began = time.monotonic()
            try:
                if began >= next_poll:
                    new = await self.poll()
                    next_poll = began + interval
                else:
                    new = await self.look()
                took = time.monotonic() - began
                if new:
                    yield TriggerEvent({"checkpoints": sorted(new)[:MAX_NAMED]})
                    await self._remember(new)
                outage_pause = interval
                pause = min(interval, max(LOOK_S, 10 * took))  # a slow store is not asked all the time
            except Exception as error:  # the next poll may succeed
                outage_pause = pause = min(2 * outage_pause, max(MAX_PAUSE_S, interval))
                self.log.warning(
                    "cannot watch %s: %s; looking again in %d s", router.read_checkpoints_uri(), describe(error), pause
                )
            await asyncio.sleep(pause)

    async def poll(self) -> dict[str, str]:
        """Digests by name of the checkpoints that are complete, unchanged since the last poll and not announced."""
        uri = router.read_checkpoints_uri()
        if uri is None:
            return {}
        announced = await self._load_announced()
        before, self._last = self._last, await asyncio.to_thread(router.list_whole, uri, announced, self._odd)
        self._new_folders.note_poll(self._odd.digests() | self._last)
        for line in self._odd.take_lines():
            self.log.warning(line)
        return {
            name: listing
            for name, listing in self._last.items()
            if announced.get(name) != listing and before.get(name) == listing
        }

    async def look(self) -> dict[str, str]:
        """Digests by name of the new checkpoints that are complete, quiet and not announced, since the last poll."""
        uri = router.read_checkpoints_uri()
        if uri is None:
            return {}
        announced = await self._load_announced()
        ready = await asyncio.to_thread(self._new_folders.find_ready, uri, announced, self._odd)
        self._last |= ready
        return ready

    async def _load_announced(self) -> dict[str, str]:
        assert self.asset_state_store is not None
        announced: Any = await self.asset_state_store.aget(ANNOUNCED, default={})
        return dict(announced or {})

    async def _remember(self, new: dict[str, str]) -> None:
        """Store the announced digests, after the event: if the triggerer dies in between, the event fires twice.

        Forgets a folder that is not complete any more. If it becomes complete again, it is announced again.
        """
        assert self.asset_state_store is not None
        announced: dict[str, Any] = {
            name: listing for name, listing in (await self._load_announced()).items() if name in self._last
        }
        await self.asset_state_store.aset(ANNOUNCED, announced | new)
