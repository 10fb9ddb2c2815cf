"""Tasks of RayJobOperator outside Airflow: their context, their operator and the events that they get."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from assay_airflow.operators.ray_job import RayJobOperator
from assay_airflow.stages import StageJob

from ray_jobs.contract.spec import Spec
from ray_jobs.storage import objects

PUSHED: dict[str, Any] = {}
TI = SimpleNamespace(
    dag_id="validate_checkpoint",
    run_id="manual__1",
    task_id="caption",
    xcom_push=lambda key, value: PUSHED.__setitem__(key, value),
)
CONTEXT: Any = {"ti": TI}


def make_operator(
    spec: Spec, stage: str = "caption", next_uri: str | None = None, worker_wait: float = 0
) -> RayJobOperator:
    return RayJobOperator(
        task_id=stage,
        stage=stage,
        spec_uri=spec.uri,
        next_spec_uri=next_uri,
        job_timeout=timedelta(hours=1),
        worker_wait=worker_wait,
    )


def defer(spec: Spec, stage: str = "caption", next_uri: str | None = None) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as raised:
        make_operator(spec, stage, next_uri).execute(CONTEXT)
    return raised.value


def make_event(status: str, **details: Any) -> dict[str, Any]:
    payload = {"status": status, "submission_id": "job-1", "message": "", "start_time": 0, "metadata": {}}
    return payload | {"exit_code": None} | details


def write_marker(spec: Spec, stage: str = "caption") -> None:
    objects.write(StageJob.of(stage, spec).marker, b"{}")
