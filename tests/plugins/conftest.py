"""Airflow in a fresh home, a stand-in for Ray, and a storage root with one spec."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="assay-airflow-")  # before anything imports airflow
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"

import pytest
from ray_server import TOKEN, RayServer, connect
from specs import make_spec

from ray_jobs.contract.spec import Spec


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the caller's AWS, Ray or Assay settings reaches a test."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "ASSAY_", "AIRFLOW_CONN_")):
            monkeypatch.delenv(name)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[RayServer]:
    """A stand-in for Ray's Jobs API on a real socket, and the connection that leads to it."""
    with RayServer() as server:
        connect(monkeypatch, server.port, TOKEN)
        yield server


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    """A spec in storage, at a run's place."""
    return make_spec(tmp_path / "root")
