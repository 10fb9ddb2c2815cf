"""A Ray cluster for the tests, on 127.0.0.1 and behind a token: one node, and the nodes that its autoscaler starts."""

import ctypes
import json
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
from typing import Any

import psutil
from forked_processes import find_actor, list_descendants
from s3_server import free_ports

ROOT = Path(__file__).parents[2]
HEAD_NODE = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"  # as Ray's fake provider knows it
AUTOSCALER = {
    "RAY_FAKE_CLUSTER": "1",
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_enable_autoscaler_v2": "1",
    "RAY_CLOUD_INSTANCE_ID": HEAD_NODE,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_NODE,
}
TRIES = 4  # Ray gives a node 30 s to start, which a busy machine can take


@dataclass(frozen=True)
class Cluster:
    """A running cluster. `environment` is what a job needs to join it."""

    head: psutil.Process
    environment: dict[str, str]

    def engine(self) -> psutil.Process | None:
        """The process of vLLM's engine, if one runs on this cluster."""
        return next(iter(self.engines()), None)

    def engines(self) -> list[psutil.Process]:
        return self.processes("EngineCore")

    def processes(self, mark: str) -> list[psutil.Process]:
        """The cluster's processes whose name or command line contains the text."""
        running_processes = []
        for process in list_descendants(self.head):
            with suppress(psutil.NoSuchProcess):
                if mark in " ".join([process.name(), *process.cmdline()]):
                    running_processes.append(process)
        return running_processes

    def end_engines(self) -> None:
        """End the warm engines that earlier tests left, through their actors."""
        engines_left = self.engines()
        for engine in engines_left:
            with suppress(psutil.NoSuchProcess):
                find_actor(engine).kill()
        psutil.wait_procs(engines_left, 30)
        assert not self.engines()


@contextmanager
def start_cluster(
    variables: dict[str, str], starts: dict[str, dict[str, float]] | None = None, gpus: int = 0
) -> Iterator[Cluster]:
    """A cluster whose workers have the variables, ended with the block and with the process that started it.

    `starts` names groups of nodes and the resources of a node of each. Ray's autoscaler starts at most one node of each
    group when a job asks for it, and ends it when it was idle for three seconds. Ray's own fake provider makes these
    nodes, as processes of this machine below the head's. `gpus` is the number that the one node reports.
    """
    settings = variables | {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'startup'}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # despite its name: on Linux too, Ray then keeps to 127.0.0.1
        "HF_HUB_OFFLINE": "1",
    }
    home = Path(tempfile.mkdtemp(prefix="assay-"))  # sockets below it must have short names
    try:
        head, address = _started(home, settings | (AUTOSCALER if starts else {}), starts, gpus)
        try:
            yield Cluster(head, settings | {"RAY_ADDRESS": address})
        finally:
            _end(head)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _started(
    home: Path, settings: dict[str, str], starts: dict[str, dict[str, float]] | None, gpus: int
) -> tuple[psutil.Process, str]:
    for number in range(TRIES):
        log = home / f"head-{number}.log"
        port, listen, grpc, metrics, client = free_ports(5)
        command = [
            sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats",
            "--include-dashboard=false", "--node-ip-address=127.0.0.1", f"--port={port}",
            f"--dashboard-agent-listen-port={listen}", f"--dashboard-agent-grpc-port={grpc}",
            f"--metrics-export-port={metrics}", f"--ray-client-server-port={client}", "--num-cpus=4",
            *([f"--num-gpus={gpus}"] if gpus else []),
            "--object-store-memory=400000000", f"--temp-dir={home / str(number)}",
        ]  # fmt: skip
        if starts:
            config = home / f"autoscaler-{number}.json"
            config.write_text(json.dumps(_autoscaler(starts, f"127.0.0.1:{port}")))
            command.append(f"--autoscaling-config={config}")
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


def _autoscaler(starts: dict[str, dict[str, float]], address: str) -> dict[str, Any]:
    """The autoscaler's configuration, in the form that `ray up` reads."""
    groups = {
        name: {
            "resources": wanted | {"object_store_memory": 2e8},
            "node_config": {},
            "min_workers": 0,
            "max_workers": 1,
        }
        for name, wanted in starts.items()
    }
    head = {"ray.head.default": {"resources": {"CPU": 4}, "node_config": {}, "max_workers": 0}}
    commands = ("setup", "head_setup", "worker_setup", "initialization", "head_start_ray", "worker_start_ray")
    return {
        "cluster_name": "assay", "max_workers": len(starts), "upscaling_speed": 1.0, "idle_timeout_minutes": 0.05,
        "provider": {  # Ray's wheel lacks the defaults that its own type of provider, `fake_multinode`, reads
            "type": "external", "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "gcs_address": address, "head_node_id": HEAD_NODE, "disable_node_updaters": True,
        },
        "auth": {}, "file_mounts": {}, "cluster_synced_files": [],
        "head_node_type": "ray.head.default", "available_node_types": groups | head,
    } | {f"{name}_commands": [] for name in commands}  # fmt: skip


def _end(head: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        for process in [*head.children(recursive=True), head]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        head.wait(60)
