"""Storage of three kinds for tests of the data plane, none of it the person's own."""

import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ray_jobs import storage

if TYPE_CHECKING:
    import psutil


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the caller's AWS, Ray or Assay settings reaches a test."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "ASSAY_")) or name == "RAY_ADDRESS":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def moto() -> Iterator[dict[str, str]]:
    """The AWS variables of an in-memory stand-in for S3."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield {
        "AWS_ENDPOINT_URL": "http://{}:{}".format(*server.get_host_and_port()),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    server.stop()


KINDS = ["file", "moto", pytest.param("swift", marks=pytest.mark.integration)]


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of an empty place: a directory, a bucket of a stand-in, a bucket of a real S3 server."""
    return str(tmp_path / "store") if request.param == "file" else bucket(request, request.param, monkeypatch)


@pytest.fixture(params=KINDS[1:])
def s3(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of an empty bucket."""
    return bucket(request, request.param, monkeypatch)


def bucket(request: pytest.FixtureRequest, kind: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in request.getfixturevalue(kind).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(storage._thread, "owner", None, raising=False)  # the client is kept by thread
    name = f"assay-{uuid.uuid4().hex[:12]}"
    storage._s3().create_bucket(Bucket=name)
    return f"s3://{name}"


@pytest.fixture(scope="session")
def cluster(swift: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator["psutil.Process"]:
    """A Ray cluster for all integration tests, which its jobs find through the environment; the head's process.

    Its workers have the AWS variables of the S3 server, as those of a deployment have theirs.
    """
    import psutil
    import running
    import s3_server

    ports = s3_server.free_ports(5)
    home = Path(tempfile.mkdtemp(prefix="assay-"))  # sockets below it must have short names
    settings = {
        **swift,
        "PYTHONPATH": str(running.ROOT),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # despite its name: on Linux too, Ray then keeps to 127.0.0.1
        "HF_HUB_OFFLINE": "1",
        "ASSAY_CACHE": str(tmp_path_factory.mktemp("checkpoints")),
    }
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats",
        "--include-dashboard=false", "--node-ip-address=127.0.0.1", f"--port={ports[0]}",
        f"--dashboard-agent-listen-port={ports[1]}", f"--dashboard-agent-grpc-port={ports[2]}",
        f"--metrics-export-port={ports[3]}", f"--ray-client-server-port={ports[4]}", "--num-cpus=4",
        "--object-store-memory=400000000", f"--temp-dir={home}",
    ]  # fmt: skip
    head = subprocess.Popen(
        command,
        env=os.environ | settings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: ctypes.CDLL(None).prctl(1, signal.SIGTERM),  # it ends with us, however we end
    )
    process = psutil.Process(head.pid)
    settings["RAY_ADDRESS"] = f"127.0.0.1:{ports[0]}"
    _cluster_settings.update(settings)
    try:
        _wait_for(ports[0], head)
        yield process
    finally:
        for one in [*process.children(recursive=True), process]:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        head.wait(60)
        shutil.rmtree(home, ignore_errors=True)


_cluster_settings: dict[str, str] = {}


@pytest.fixture
def on_cluster(cluster: "psutil.Process", monkeypatch: pytest.MonkeyPatch) -> "psutil.Process":
    """The environment that makes jobs started by the test join the cluster; the cluster's head."""
    for name, value in _cluster_settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(storage._thread, "owner", None, raising=False)
    return cluster


def _wait_for(port: int, head: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert head.poll() is None, f"Ray ended with {head.returncode}"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("Ray did not start")
