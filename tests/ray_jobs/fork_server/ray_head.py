"""A Ray head with the Jobs API, on 127.0.0.1 and behind a token, whose jobs are what Airflow submits."""

import json
import secrets
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from forking import SECONDS, Host
from s3_server import free_ports
from stage_jobs import wait_until

from ray_jobs.job import submission_probe

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
START_SECONDS = 180.0


class RayHead:
    def __init__(self, process: psutil.Process, port: int, token: str) -> None:
        self.process, self._port, self._token = process, port, token

    def submit(self, name: str, entrypoint: str) -> None:
        self._request("/api/jobs/", {"submission_id": name, "entrypoint": entrypoint, "metadata": {"of": name}})

    def stop(self, name: str) -> None:
        self._request(f"/api/jobs/{name}/stop", {})

    def wait(self, name: str) -> dict[str, Any]:
        """Returns Ray's account of the job once it has ended."""
        wait_until(lambda: self.look(name)["status"] in ENDED, 3 * SECONDS)
        return self.look(name)

    def look(self, name: str) -> dict[str, Any]:
        return self._request(f"/api/jobs/{name}")

    def log(self, name: str) -> str:
        return str(self._request(f"/api/jobs/{name}/logs")["logs"])

    def has_agent(self) -> bool:
        """Whether a submission would start a job."""
        try:
            self._request(submission_probe.PATH, submission_probe.PROBE)
        except urllib.error.HTTPError as error:
            return submission_probe.find_fault(error.code, error.read().decode()) is None
        except OSError:
            return False
        return False

    def _request(self, path: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
        data = None if content is None else json.dumps(content).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}", data, headers)
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            content_of_answer: dict[str, Any] = json.load(answer)
        return content_of_answer


@contextmanager
def start_head(host: Host) -> Iterator[RayHead]:
    """A head whose jobs have the host's environment. It ends with the block."""
    token = secrets.token_hex(32)
    settings = host.environment | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # despite its name: on Linux too, Ray then keeps to 127.0.0.1
    }
    with tempfile.TemporaryDirectory(prefix="assay-", dir="/tmp") as home:  # sockets below it must have short names
        port, dashboard, listen, grpc, metrics, client = free_ports(6)
        command = [
            sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats",
            "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", "--node-ip-address=127.0.0.1",
            f"--port={port}", f"--dashboard-agent-listen-port={listen}", f"--dashboard-agent-grpc-port={grpc}",
            f"--metrics-export-port={metrics}", f"--ray-client-server-port={client}", "--num-cpus=2",
            "--object-store-memory=200000000", f"--temp-dir={home}",
        ]  # fmt: skip
        with Path(home, "head.log").open("wb") as log:
            ray_process = subprocess.Popen(command, env=settings, stdout=log, stderr=subprocess.STDOUT)
        head = RayHead(psutil.Process(ray_process.pid), dashboard, token)
        try:
            wait_until(head.has_agent, START_SECONDS)
            yield head
        finally:
            for process in [*head.process.children(recursive=True), head.process]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            ray_process.wait()
