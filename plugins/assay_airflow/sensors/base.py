"""The base of the sensors: look once, then wait in the triggerer, and turn its event into success or one line."""

import asyncio
import time
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowSensorTimeout

from assay_airflow.triggers.polling import PollingTrigger
from ray_jobs.inputs.errors import InputError, RetryableError


class DeferrableSensor(BaseOperator):
    """A sensor that waits in the triggerer, unless its first look settles it.

    Its limit is `patience`, because a sensor's `timeout` loses the reason. Without the first look, a wait that is over
    at once costs seconds, and Airflow may retry the task for nothing: it takes a deferral that ends within a moment for
    the end of the task (apache/airflow#66374).
    """

    ui_color = "#e6f1f2"

    def __init__(self, *, patience: timedelta, poll_interval: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.patience, self.poll_interval = patience, poll_interval

    def trigger(self, deadline: float) -> PollingTrigger:
        raise NotImplementedError

    def execute(self, context: Context) -> None:
        trigger = self.trigger(time.time() + self.patience.total_seconds())
        if not self._is_ready(trigger):
            self.defer(trigger=trigger, method_name="execute_complete")

    def _is_ready(self, trigger: PollingTrigger) -> bool:
        """Look once. Raises InputError if the thing can never be ready."""
        try:
            missing = asyncio.run(trigger.poll())
        except RetryableError as error:
            missing = str(error)
        if missing:
            self.log.info("%s; waiting", missing)
        return missing is None

    def execute_complete(self, context: Context, event: dict[str, Any]) -> None:
        if event["status"] == "bad-input":
            raise InputError(event["message"])
        if event["status"] == "timeout":
            raise AirflowSensorTimeout(f"{event['message']} (waited {self.patience})")
