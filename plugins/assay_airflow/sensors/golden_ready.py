"""Wait until the golden set of a spec is complete. Any run may prepare it."""

from collections.abc import Sequence
from typing import Any

from assay_airflow.operators.untemplated import UntemplatedOperator
from assay_airflow.sensors.base import DeferrableSensor
from assay_airflow.triggers.golden_ready import GoldenReadyTrigger
from ray_jobs.storage.specs import load_spec


class GoldenReadySensor(UntemplatedOperator, DeferrableSensor):
    template_fields: Sequence[str] = ("spec_uri",)

    def __init__(self, *, spec_uri: str, poll_interval: float = 10.0, **kwargs: Any) -> None:
        super().__init__(poll_interval=poll_interval, **kwargs)
        self.spec_uri = spec_uri

    def trigger(self, deadline: float) -> GoldenReadyTrigger:
        return GoldenReadyTrigger(load_spec(self.spec_uri).golden_uri, deadline, self.poll_interval)
