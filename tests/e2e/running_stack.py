"""A whole stack with its storage on a real S3 server, driven through Airflow's REST API as a user drives it."""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import psutil
import pytest
import s3_server
from forked_processes import list_descendants

from dev import processes
from dev import stack as local_stack
from dev.airflow_api import DAG, ENDED, AirflowAPI
from dev.settings import Settings
from ray_jobs.contract.artifacts import Manifest, Record
from ray_jobs.storage import objects

HERE = Path(__file__).parent
CHECKPOINTS = HERE.parents[1] / "demo" / "checkpoints"
IMAGES = HERE.parents[1] / "demo" / "images"
OFFERED = sum(path.suffix in (".png", ".jpg", ".gif") for path in IMAGES.rglob("*"))
WATCHED = "s3://assay/checkpoints"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@dataclass(frozen=True)
class Stack:
    settings: Settings
    api: AirflowAPI

    def trigger(self, checkpoint: str, suite: str = "quick", **conf: Any) -> str:
        return self.api.trigger({"checkpoint": checkpoint, "suite": suite, **conf})

    def runs(self, dag: str = DAG) -> dict[str, dict[str, Any]]:
        runs = self.api.get(f"/api/v2/dags/{dag}/dagRuns", params={"limit": 100})["dag_runs"]
        return {run["dag_run_id"]: run for run in runs}

    def finish(self, run_id: str, dag: str = DAG, seconds: float = 600) -> str:
        """Wait for the run to end and return its state."""
        state = wait(lambda: (s := self.runs(dag)[run_id]["state"]) in ENDED and s, seconds, f"the end of {run_id}")
        return str(state)

    def tasks(self, run_id: str) -> dict[str, dict[str, Any]]:
        tasks = self.api.get(f"/api/v2/dags/{DAG}/dagRuns/{quote(run_id)}/taskInstances")["task_instances"]
        return {task["task_id"]: task for task in tasks}

    def spec(self, run_id: str) -> dict[str, Any]:
        """Wait for the run's `plan` and return the spec that it wrote."""
        path = f"/api/v2/dags/{DAG}/dagRuns/{quote(run_id)}/taskInstances/plan/xcomEntries/return_value"

        def read_plan_result() -> Any:
            answer = self.api._client.get(path, params={"deserialize": True})
            return answer.status_code == 200 and answer.json()["value"]

        uri = str(wait(read_plan_result, 120, "the plan"))
        return {"uri": uri, **json.loads(objects.read(uri))}

    def record(self, run_id: str) -> Record:
        summary = self.api.read_summary(run_id)
        assert summary, f"{run_id} published nothing"
        return Record.model_validate_json(objects.read(summary["record"]))

    def process(self, text: str) -> list[psutil.Process]:
        """The stack's processes whose command line or title contains the text."""
        below: dict[int, psutil.Process] = {}
        for pid in processes.session(self.settings):
            with suppress(psutil.NoSuchProcess):  # gone since it was listed
                root = psutil.Process(pid)
                below |= {process.pid: process for process in [root, *list_descendants(root)]}
        return [process for process in below.values() if text in read_command(process)]

    def ray_jobs(self) -> list[dict[str, Any]]:
        import httpx

        from dev.settings import secrets_of

        token = secrets_of(self.settings)["ray_token"]
        answer = httpx.get(f"{self.settings.ray_url}/api/jobs/", headers={"Authorization": f"Bearer {token}"})
        return [job for job in answer.raise_for_status().json() if job["submission_id"]]


@pytest.fixture(scope="session")
def stack(swift: dict[str, str]) -> Iterator[Stack]:
    """Airflow and Ray up, root and checkpoints in S3, the router watching every two seconds."""
    environment = {
        **swift,
        "ASSAY_CHECKPOINTS": WATCHED,
        "ASSAY_ROUTER_SUITE": "quick",
        "ASSAY_SUITES": str(HERE / "suites"),
        "ASSAY_SUITE_FILES": "1",  # a test makes a suite of its own, in the stack's folder
        "ASSAY_WATCH_SECONDS": "2",
        "HF_HUB_OFFLINE": "1",
        "ASSAY_RETRY_MINUTES": "0.1,0.1,0.1,1,5,15",  # after a kill
    }
    before = dict(os.environ)
    os.environ.update(environment)
    boto3.client("s3").create_bucket(Bucket="assay")
    with tempfile.TemporaryDirectory(prefix="assay-e2e-") as folder:
        os.environ["ASSAY_CACHE"] = f"{folder}/checkpoints"
        airflow, ray = s3_server.free_ports(2)[0], free_block(4)
        settings = Settings(run=Path(folder), root="s3://assay/root", airflow_port=airflow, ray_port=ray)
        try:
            local_stack.up(settings)
            api = AirflowAPI(settings)
            api.login()
            yield Stack(settings, api)
        finally:
            local_stack.down(settings)
            os.environ.clear()
            os.environ.update(before)


def read_command(process: psutil.Process) -> str:
    """The process's command line; empty if the process has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def upload(name: str, to: str, only: Callable[[str], bool] = lambda file: True) -> str:
    """Put a demo checkpoint's files into S3, as a training run does; returns the checkpoint's URI."""
    for file in sorted((CHECKPOINTS / name).iterdir()):
        if only(file.name):
            objects.write(f"{to}/{file.name}", file.read_bytes())
    return to


def manifest(stage_uri: str) -> Manifest:
    return Manifest.model_validate_json(objects.read(f"{stage_uri}/manifest.json"))


def mean(record: Record, metric: str) -> float:
    value = record.metrics[metric].mean
    assert value is not None
    return value


def assert_nothing_lost(record: Record, offered: int = OFFERED) -> None:
    """Assert that images read = captioned + rejected + failed, by the record and by the manifests behind it."""
    images, root = record.images, record.run_uri.split("/runs/")[0]
    assert images["read"] == images["rejected"] + images["captioned"] + images["failed"]
    golden = manifest(f"{root}/golden/{record.golden_id}")
    captions = manifest(f"{root}/captions/{record.caption_id}")
    assert golden.rows_in == images["read"] == offered
    assert captions.rows_in == golden.rows_out == sum(part.rows for part in captions.parts)


def wait(condition: Callable[[], Any], seconds: float, description: str) -> Any:
    """Call the condition every second until it is true, and return its answer. Fails after `seconds`."""
    limit = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < limit, f"waited {seconds:.0f} s for {description}"
        time.sleep(1)
    return answer


def free_block(count: int) -> int:
    """The first of `count` consecutive free ports."""
    import socket

    for first in range(23000, 32000, count):
        try:
            for port in range(first, first + count):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return first
    raise RuntimeError("no free ports")
