"""A Ray cluster of one node for the tests, on 127.0.0.1 and behind a token."""

import ctypes
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from s3_server import free_ports

ROOT = Path(__file__).parents[2]
TRIES = 4  # Ray gives a node 30 s to start, which a busy machine can take


@dataclass(frozen=True)
class Cluster:
    """`environment` is what a job needs to join it."""

    head: psutil.Process
    environment: dict[str, str]

    def engine(self) -> psutil.Process | None:
        """vLLM's engine, when one runs on this cluster."""
        return next(iter(self.engines()), None)

    def engines(self) -> list[psutil.Process]:
        return self.processes("EngineCore")

    def processes(self, mark: str) -> list[psutil.Process]:
        """Those of the cluster that have the mark in their name or command line."""
        found = []
        for process in self.head.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if mark in " ".join([process.name(), *process.cmdline()]):
                    found.append(process)
        return found

    def end_engines(self) -> None:
        """End the warm engines that earlier tests left, by the actors that hold them."""
        left = self.engines()
        for engine in left:
            with suppress(psutil.NoSuchProcess):
                if actor := engine.parent():
                    actor.kill()
        psutil.wait_procs(left, 30)
        assert not self.engines()


@contextmanager
def running(variables: dict[str, str]) -> Iterator[Cluster]:
    """A cluster whose workers have the variables, ended with the block and with the process that started it."""
    settings = variables | {
        "PYTHONPATH": str(ROOT),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # despite its name: on Linux too, Ray then keeps to 127.0.0.1
        "HF_HUB_OFFLINE": "1",
    }
    home = Path(tempfile.mkdtemp(prefix="assay-"))  # sockets below it must have short names
    try:
        head, address = _started(home, settings)
        try:
            yield Cluster(head, settings | {"RAY_ADDRESS": address})
        finally:
            _end(head)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _started(home: Path, settings: dict[str, str]) -> tuple[psutil.Process, str]:
    for number in range(TRIES):
        log = home / f"head-{number}.log"
        port, listen, grpc, metrics, client = free_ports(5)
        command = [
            sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats",
            "--include-dashboard=false", "--node-ip-address=127.0.0.1", f"--port={port}",
            f"--dashboard-agent-listen-port={listen}", f"--dashboard-agent-grpc-port={grpc}",
            f"--metrics-export-port={metrics}", f"--ray-client-server-port={client}", "--num-cpus=4",
            "--object-store-memory=400000000", f"--temp-dir={home / str(number)}",
        ]  # fmt: skip
        process = subprocess.Popen(
            command,
            env=os.environ | settings,
            stdout=log.open("wb"),
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: ctypes.CDLL(None).prctl(1, signal.SIGTERM),
        )
        head = psutil.Process(process.pid)
        deadline = time.monotonic() + 180
        while process.poll() is None and time.monotonic() < deadline:
            if "Ray runtime started" in log.read_text(errors="replace"):
                return head, f"127.0.0.1:{port}"
            time.sleep(0.2)
        _end(head)
    raise RuntimeError(f"Ray did not start:\n{log.read_text(errors='replace')[-3000:]}")


def _end(head: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        for process in [*head.children(recursive=True), head]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        head.wait(60)
