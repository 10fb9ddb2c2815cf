"""Wait until the Ray cluster could start a job."""

# mypy: allow-untyped-calls

from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import TriggerEvent

from assay_airflow.hooks.ray import RayHook
from assay_airflow.triggers.polling import PollingTrigger, poll_until_ready


class RayReadyTrigger(PollingTrigger):
    def __init__(self, ray_conn_id: str, deadline: float, poll_interval: float = 10.0) -> None:
        super().__init__()
        self.ray_conn_id, self.deadline, self.poll_interval = ray_conn_id, deadline, poll_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            "assay_airflow.triggers.ray_ready.RayReadyTrigger",
            {"ray_conn_id": self.ray_conn_id, "deadline": self.deadline, "poll_interval": self.poll_interval},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        yield TriggerEvent(await poll_until_ready(self.poll, self.poll_interval, self.deadline, self.log.info))

    async def poll(self) -> str | None:
        await RayHook(self.ray_conn_id).aping()  # raises if Ray cannot start a job
        return None
