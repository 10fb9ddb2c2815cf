"""The base of the sensors: wait in the triggerer, and turn its event into success or one line of failure."""

import time
from datetime import timedelta
from typing import Any, NoReturn

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowSensorTimeout
from airflow.triggers.base import BaseTrigger

from ray_jobs.inputs.errors import InputError


class DeferrableSensor(BaseOperator):
    """A sensor that waits in the triggerer. Its limit is `patience`, because a sensor's `timeout` loses the reason."""

    ui_color = "#e6f1f2"

    def __init__(self, *, patience: timedelta, poll_interval: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.patience, self.poll_interval = patience, poll_interval

    def trigger(self, deadline: float) -> BaseTrigger:
        raise NotImplementedError

    def execute(self, context: Context) -> NoReturn:
        deadline = time.time() + self.patience.total_seconds()
        self.defer(trigger=self.trigger(deadline), method_name="execute_complete")

    def execute_complete(self, context: Context, event: dict[str, Any]) -> None:
        if event["status"] == "bad-input":
            raise InputError(event["message"])
        if event["status"] == "timeout":
            raise AirflowSensorTimeout(f"{event['message']} (waited {self.patience})")
