"""Wait until a checkpoint is complete: every shard exists, every header is readable, and no file changes."""

import time
from collections.abc import Sequence
from typing import Any

from assay_airflow.sensors.base import DeferrableSensor
from assay_airflow.triggers.checkpoint_whole import CheckpointWholeTrigger
from assay_airflow.triggers.polling import PollingTrigger
from ray_jobs.storage import uris


class CheckpointWholeSensor(DeferrableSensor):
    """`appear_minutes` is how long the URI may be empty. With 0, a mistyped URI fails at once.

    If the checkpoint is complete but some files are young, the worker waits `poll_interval` seconds for the second look
    itself. A deferral takes longer than that.
    """

    template_fields: Sequence[str] = ("checkpoint", "appear_minutes")

    def __init__(
        self, *, checkpoint: str, appear_minutes: float | str = 0, poll_interval: float = 5.0, **kwargs: Any
    ) -> None:
        super().__init__(poll_interval=poll_interval, **kwargs)
        self.checkpoint, self.appear_minutes = checkpoint, appear_minutes

    def _is_ready(self, trigger: PollingTrigger) -> bool:
        is_ready = super()._is_ready(trigger)
        if not is_ready and isinstance(trigger, CheckpointWholeTrigger) and trigger.is_whole:
            time.sleep(self.poll_interval)
            is_ready = super()._is_ready(trigger)
        return is_ready

    def trigger(self, deadline: float) -> CheckpointWholeTrigger:
        appears_by = time.time() + 60 * float(self.appear_minutes)
        return CheckpointWholeTrigger(uris.make_absolute(self.checkpoint), deadline, appears_by, self.poll_interval)
