"""Addresses of a dead Ray, of a silent one and of another program, and a real head that is killed."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest
from s3_server import free_ports

from ray_jobs.inputs.errors import RetryableError
from ray_jobs.job import ray_address
from ray_jobs.job.ray_address import find_fault, find_ray


@contextmanager
def nobody() -> Iterator[int]:
    with socket.socket() as listener:  # and not listening
        listener.bind(("127.0.0.1", 0))
        yield listener.getsockname()[1]


@contextmanager
def deaf() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def web_server() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


FAULTS = [(nobody, "Connection refused"), (deaf, "silent for 0.5 s"), (web_server, "another program is there")]


@pytest.fixture(autouse=True)
def own_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Ray's temporary folder, with a short path because it holds sockets."""
    monkeypatch.setattr(ray_address, "SECONDS", 0.5)
    monkeypatch.setattr(
        "ray_jobs.job.ray_address.services.find_gcs_addresses", lambda: set()
    )  # of other tests' clusters
    with tempfile.TemporaryDirectory(prefix="rt-") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        (Path(folder) / "ray").mkdir()
        yield Path(folder) / "ray"


@pytest.mark.parametrize(("place", "fault"), FAULTS, ids=["nobody", "deaf", "a-web-server"])
@pytest.mark.parametrize("address_file", ["", "auto", "itself"])
def test_a_dead_address_is_one_line_with_its_file(
    place: object, fault: str, address_file: str, own_folder: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    with place() as port:  # type: ignore[operator]
        address = f"127.0.0.1:{port}"
        (own_folder / "ray_current_cluster").write_text(address)
        file = own_folder / "ray_current_cluster"
        stale = (
            f"no Ray answers at {address}: .*{fault}.* \\(a stale address in {file}\\); remove it or set RAY_ADDRESS"
        )
        if not address_file:
            assert find_ray() == "local"
            (line,) = caplog.messages
            assert re.fullmatch(f"{stale}=local; a cluster of this job's own is started", line)
        elif address_file == "auto":
            monkeypatch.setenv("RAY_ADDRESS", address_file)
            with pytest.raises(RetryableError, match=stale):
                find_ray()
        else:
            monkeypatch.setenv("RAY_ADDRESS", address)
            with pytest.raises(
                RetryableError, match=rf"Ray at {address} does not answer: .*{fault}.*; is the head up\?"
            ):
                find_ray()


def test_a_ray_with_tls_is_not_greeted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USE_TLS", "1")
    with deaf() as port:
        assert find_fault(f"127.0.0.1:{port}") is None
    with nobody() as port:
        assert "refused" in str(find_fault(f"127.0.0.1:{port}"))


def test_where_no_address_is_left_ray_decides() -> None:
    assert find_ray() is None


def test_auto_without_a_ray_has_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with pytest.raises(
        RetryableError, match="RAY_ADDRESS is auto, and no Ray runs here; start one, or set RAY_ADDRESS=local"
    ):
        find_ray()


@pytest.mark.integration
def test_a_job_by_hand_continues_after_its_head_was_killed(own_folder: Path) -> None:
    """The head is killed as in a crash. The address file that it leaves is then stale."""
    gcs, dashboard, agent, client = free_ports(4)
    command = [
        f"{Path(sys.executable).parent}/ray", "start", "--head", "--node-ip-address=127.0.0.1", f"--port={gcs}",
        f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}",
        "--num-cpus=1", "--object-store-memory=100000000", "--disable-usage-stats",
    ]  # fmt: skip
    environment = os.environ | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    subprocess.run(command, check=True, env=environment, capture_output=True, timeout=120)
    head = [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(own_folder) in word for word in process.info["cmdline"] or [])
    ]
    try:
        assert find_fault(f"127.0.0.1:{gcs}") is None
    finally:
        for process in head:
            process.send_signal(signal.SIGKILL)
        psutil.wait_procs(head, 20)
    assert (own_folder / "ray_current_cluster").read_text() == f"127.0.0.1:{gcs}"
    command = [sys.executable, str(Path(__file__).with_name("join_cluster.py"))]
    joining = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert joining.returncode == 0, joining.stderr
    stale = f"no Ray answers at 127.0.0.1:{gcs}: [Errno 111] Connection refused (a stale address in"
    assert joining.stderr.count(stale) == 1
    assert "'Alive': True" in joining.stdout
