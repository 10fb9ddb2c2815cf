"""Watch the folder of checkpoints, and say so when one has become whole, or whole with other content."""

# mypy: allow-untyped-calls

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from assay_airflow import router
from assay_airflow.odd_folders import OddFolders
from ray_jobs.storage.odd_items import describe

ANNOUNCED = "announced"
LONGEST_PAUSE_S = 900.0
MOST_NAMED = 1000  # in one event, which Airflow keeps: the router lists the folder itself


class CheckpointPrefixTrigger(BaseEventTrigger):
    """One event per look that finds something new, which two looks in a row must agree on.

    Reads ASSAY_CHECKPOINTS and ASSAY_WATCH_SECONDS (60) where it runs. Never raises: Airflow restarts a watcher that
    did after two seconds, for ever; an error is logged and the pause grows instead.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, str] = {}
        self._odd = OddFolders()

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return ("assay_airflow.triggers.checkpoint_prefix.CheckpointPrefixTrigger", {})

    async def run(self) -> AsyncIterator[TriggerEvent]:
        pause = interval = float(os.environ.get("ASSAY_WATCH_SECONDS", "60"))
        while True:
            try:
                if new := await self.look():
                    yield TriggerEvent({"checkpoints": sorted(new)[:MOST_NAMED]})
                    await self._remember(new)
                pause = interval
            except Exception as error:  # whatever it is, the next look may be luckier
                pause = min(2 * pause, max(LONGEST_PAUSE_S, interval))
                self.log.warning("cannot watch %s: %s; looking again in %d s", router.prefix(), describe(error), pause)
            await asyncio.sleep(pause)

    async def look(self) -> dict[str, str]:
        """Digests by name of the checkpoints that are whole, settled and not announced yet."""
        uri = router.prefix()
        if uri is None:
            return {}
        announced = await self._announced()
        before, self._last = self._last, await asyncio.to_thread(router.whole_listings, uri, announced, self._odd)
        for line in self._odd.take_lines():
            self.log.warning(line)
        return {
            name: listing
            for name, listing in self._last.items()
            if announced.get(name) != listing and before.get(name) == listing
        }

    async def _announced(self) -> dict[str, str]:
        assert self.asset_state_store is not None
        kept: Any = await self.asset_state_store.aget(ANNOUNCED, default={})
        return dict(kept or {})

    async def _remember(self, new: dict[str, str]) -> None:
        """Kept after the event, so that a triggerer that dies in between says it twice rather than not at all.

        A folder that is not whole any more is forgotten: should it become so again, it is announced again.
        """
        assert self.asset_state_store is not None
        kept: dict[str, Any] = {
            name: listing for name, listing in (await self._announced()).items() if name in self._last
        }
        await self.asset_state_store.aset(ANNOUNCED, kept | new)
