"""Three kinds of storage for the tests of the data plane; none is the caller's own."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from moto_server import start_moto

from ray_jobs.storage import s3_client

if TYPE_CHECKING:
    from ray_cluster import Cluster


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing of the caller's AWS, Ray or Assay settings reaches a test."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "ASSAY_")) or name == "RAY_ADDRESS":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    # Where the tests' own servers and files are.
    monkeypatch.setenv("ASSAY_SOURCES", f"127.0.0.1,{tmp_path_factory.getbasetemp()}")


@pytest.fixture(scope="session")
def moto() -> Iterator[dict[str, str]]:
    """The AWS variables of an in-memory stand-in for S3."""
    with start_moto() as variables:
        yield variables


KINDS = ["file", "moto", pytest.param("swift", marks=pytest.mark.integration)]


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of an empty location: a directory, a bucket of a stand-in, or a bucket of a real S3 server."""
    return str(tmp_path / "store") if request.param == "file" else bucket(request, request.param, monkeypatch)


@pytest.fixture(params=KINDS[1:])
def s3(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of an empty bucket."""
    return bucket(request, request.param, monkeypatch)


_clients: dict[str, Any] = {}


def bucket(request: pytest.FixtureRequest, kind: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in request.getfixturevalue(kind).items():
        monkeypatch.setenv(name, value)
    # One client for all tests of a server, because a new one takes 14 ms of a core, half of a small test.
    monkeypatch.setattr(s3_client._cache, "client", _clients.get(kind))
    monkeypatch.setattr(s3_client._cache, "owner", os.getpid() if kind in _clients else None)
    _clients[kind] = s3_client.get_client()
    name = f"assay-{uuid.uuid4().hex[:12]}"
    s3_client.get_client().create_bucket(Bucket=name)
    return f"s3://{name}"


@pytest.fixture(scope="session")
def cluster(swift: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator["Cluster"]:
    """One Ray cluster for all integration tests.

    Its workers have the AWS variables of the S3 server, as those of a deployment have theirs.
    """
    from ray_cluster import start_cluster

    allowed = f"127.0.0.1,{tmp_path_factory.getbasetemp()},s3://"
    cache = {"ASSAY_CACHE": str(tmp_path_factory.mktemp("checkpoints")), "ASSAY_SOURCES": allowed}
    with start_cluster(swift | cache) as started_cluster:
        yield started_cluster


@pytest.fixture
def on_cluster(cluster: "Cluster", monkeypatch: pytest.MonkeyPatch) -> "Cluster":
    """The environment that makes jobs started by the test join the cluster."""
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(s3_client._cache, "owner", None)
    return cluster
