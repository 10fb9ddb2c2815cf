"""Wait until the Ray cluster could start a job, before a task submits one."""

from typing import Any

from assay_airflow.hooks.ray import RayHook
from assay_airflow.sensors.base import DeferrableSensor
from assay_airflow.triggers.ray_ready import RayReadyTrigger


class RayReadySensor(DeferrableSensor):
    def __init__(
        self, *, ray_conn_id: str = RayHook.default_conn_name, poll_interval: float = 10.0, **kwargs: Any
    ) -> None:
        super().__init__(poll_interval=poll_interval, **kwargs)
        self.ray_conn_id = ray_conn_id

    def trigger(self, deadline: float) -> RayReadyTrigger:
        return RayReadyTrigger(self.ray_conn_id, deadline, self.poll_interval)
