import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from assay_airflow.triggers.golden_ready import GoldenReadyTrigger, describe_missing_golden
from assay_airflow.triggers.ray_ready import RayReadyTrigger
from ray_server import RayServer, connect
from specs import make_manifest

from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import objects


def await_event(trigger: Any) -> dict[str, Any]:
    async def first() -> dict[str, Any]:
        return dict((await anext(trigger.run())).payload)

    return asyncio.run(asyncio.wait_for(first(), 20))


def test_each_trigger_serializes_all_its_arguments() -> None:
    assert RayReadyTrigger("ray_gpu", 9.0, poll_interval=3.0).serialize() == (
        "assay_airflow.triggers.ray_ready.RayReadyTrigger",
        {"ray_conn_id": "ray_gpu", "deadline": 9.0, "poll_interval": 3.0},
    )
    assert GoldenReadyTrigger("s3://r/golden/g", 9.0, poll_interval=3.0).serialize() == (
        "assay_airflow.triggers.golden_ready.GoldenReadyTrigger",
        {"golden_uri": "s3://r/golden/g", "deadline": 9.0, "poll_interval": 3.0},
    )


def test_ray_that_answers_is_ready(ray: RayServer) -> None:
    assert await_event(RayReadyTrigger("ray_default", time.time() + 60))["status"] == "ready"


def test_ray_that_comes_back_is_ready(ray: RayServer) -> None:
    ray.broken = 2
    assert await_event(RayReadyTrigger("ray_default", time.time() + 60, poll_interval=0.02))["status"] == "ready"


def test_ray_that_stays_silent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, 1, None)
    event = await_event(RayReadyTrigger("ray_default", time.time() + 0.1, poll_interval=0.02))
    assert event["status"] == "timeout"
    assert event["message"].startswith("Ray at http://127.0.0.1:1 does not answer")


def test_a_refused_token_is_not_waited_for(ray: RayServer, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, ray.port, "wrong")
    assert await_event(RayReadyTrigger("ray_default", time.time() + 60))["status"] == "bad-input"


def test_a_golden_set_is_ready_when_its_manifest_is_there(tmp_path: Path) -> None:
    uri = str(tmp_path / "golden")
    event = await_event(GoldenReadyTrigger(uri, time.time() + 0.1, poll_interval=0.02))
    assert event == {"status": "timeout", "message": f"golden set {uri}: not complete, manifest.json is not there yet"}
    objects.write(f"{uri}/manifest.json", json.dumps(make_manifest()).encode())
    assert await_event(GoldenReadyTrigger(uri, time.time() + 60))["status"] == "ready"


def test_a_manifest_that_does_not_add_up_is_bad_input(tmp_path: Path) -> None:
    objects.write(f"{tmp_path}/manifest.json", json.dumps(make_manifest(rows_in=4)).encode())
    with pytest.raises(InputError, match=r"manifest.json is not valid \(golden g: 4 in, 3 out"):
        describe_missing_golden(str(tmp_path))
