import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSensorTimeout, TaskDeferred
from assay_airflow.sensors.base import DeferrableSensor
from assay_airflow.sensors.checkpoint_whole import CheckpointWholeSensor
from assay_airflow.sensors.golden_ready import GoldenReadySensor
from assay_airflow.sensors.ray_ready import RayReadySensor
from ray_server import RayServer
from specs import write_checkpoint

from ray_jobs.contract.artifacts import Manifest
from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import json_files
from ray_jobs.storage.manifests import uri_of_manifest

HOUR = timedelta(hours=1)


def read_trigger_arguments(sensor: DeferrableSensor) -> dict[str, Any]:
    """The arguments of the trigger that the sensor defers to, its deadline as seconds from now."""
    with pytest.raises(TaskDeferred) as raised:
        sensor.execute({})
    assert (raised.value.method_name, raised.value.timeout) == ("execute_complete", None)
    arguments: dict[str, Any] = raised.value.trigger.serialize()[1]
    return arguments | {"deadline": round((arguments["deadline"] - time.time()) / 60)}


def test_the_ray_sensor_defers_to_its_trigger(ray: RayServer) -> None:
    ray.agent = False
    assert read_trigger_arguments(RayReadySensor(task_id="t", patience=HOUR)) == {
        "ray_conn_id": "ray_default",
        "deadline": 60,
        "poll_interval": 10.0,
    }


def test_the_golden_set_sensor_defers_to_its_trigger(spec: Spec) -> None:
    assert read_trigger_arguments(GoldenReadySensor(task_id="t", spec_uri=spec.uri, patience=HOUR)) == {
        "golden_uri": spec.golden_uri,
        "deadline": 60,
        "poll_interval": 10.0,
    }
    assert GoldenReadySensor.template_fields == ("spec_uri",)


def test_the_checkpoint_sensor_defers_to_its_trigger() -> None:
    sensor = CheckpointWholeSensor(task_id="t", checkpoint="/c/step-1/", appear_minutes="2.5", patience=HOUR)
    arguments = read_trigger_arguments(sensor)
    assert round(arguments.pop("appears_by") - time.time()) == 150
    assert arguments == {"uri": "/c/step-1", "deadline": 60, "poll_interval": 5.0}
    assert CheckpointWholeSensor.template_fields == ("checkpoint", "appear_minutes")


def test_what_is_ready_at_the_first_look_is_not_deferred(ray: RayServer, spec: Spec) -> None:
    RayReadySensor(task_id="t", patience=HOUR).execute({})
    manifest = Manifest(stage="golden", id="g", rows_in=3, rows_out=3, parts=(), created_at=datetime.now(UTC))
    json_files.replace(uri_of_manifest(spec.golden_uri), manifest)
    GoldenReadySensor(task_id="t", spec_uri=spec.uri, patience=HOUR).execute({})


def test_a_young_checkpoint_gets_its_second_look_in_the_worker(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "step-1")
    CheckpointWholeSensor(task_id="t", checkpoint=str(folder), poll_interval=0.01, patience=HOUR).execute({})


def test_a_checkpoint_that_changes_between_two_looks_is_waited_for_in_the_triggerer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_checkpoint(tmp_path / "step-1")
    pauses = []

    def change(seconds: float) -> None:
        pauses.append(seconds)
        write_checkpoint(folder, b"other weights")

    monkeypatch.setattr(time, "sleep", change)
    with pytest.raises(TaskDeferred):
        CheckpointWholeSensor(task_id="t", checkpoint=str(folder), patience=HOUR).execute({})
    assert pauses == [5.0]


def test_a_checkpoint_that_never_comes_is_an_input_error_at_the_first_look() -> None:
    sensor = CheckpointWholeSensor(task_id="t", checkpoint="/c/step-1", patience=HOUR)
    with pytest.raises(InputError, match=r"checkpoint /c/step-1: nothing is there; check the URI"):
        sensor.execute({})


def test_an_unknown_scheme_is_an_input_error() -> None:
    with pytest.raises(InputError, match="cannot open gs://"):
        CheckpointWholeSensor(task_id="t", checkpoint="gs://c/step-1", patience=HOUR).execute({})


def test_the_triggers_event_is_a_success_or_an_error() -> None:
    sensor = RayReadySensor(task_id="t", patience=HOUR)
    sensor.execute_complete({}, {"status": "ready", "message": ""})
    with pytest.raises(InputError, match=r"^no$"):
        sensor.execute_complete({}, {"status": "bad-input", "message": "no"})
    with pytest.raises(AirflowSensorTimeout, match=r"^still missing \(waited 1:00:00\)$"):
        sensor.execute_complete({}, {"status": "timeout", "message": "still missing"})
