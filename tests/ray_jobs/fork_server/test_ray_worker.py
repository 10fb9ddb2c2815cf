"""A Ray worker is forked from a server that has imported vLLM, or starts as Ray wanted it. A stand-in is the worker."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from forking import PROGRAMS, SECONDS, Host, is_running, read_ids
from stage_jobs import wait_until

from ray_jobs.fork_server.ray_worker import build_runtime_env

WORKER = str(PROGRAMS / "default_worker.py")


def start(host: Host, *arguments: str, **variables: str) -> "subprocess.Popen[str]":
    command = [sys.executable, str(PROGRAMS / "start_worker.py"), WORKER, *arguments]
    return subprocess.Popen(
        command, env=host.environment | variables, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def run(host: Host, *arguments: str, **variables: str) -> dict[str, Any]:
    """What the worker prints about itself."""
    output, _ = start(host, *arguments, **variables).communicate(timeout=SECONDS)
    facts: dict[str, Any] = json.loads(output)
    return facts


def test_the_first_worker_waits_for_the_server_and_the_next_ones_share_it(host: Host) -> None:
    first = run(host, "show", RAY_JOB_ID="01", CUDA_VISIBLE_DEVICES="0")
    second = run(host, "show", RAY_JOB_ID="02", CUDA_VISIBLE_DEVICES="1")
    [server] = host.find_servers()
    assert (first["parent"], second["parent"]) == (server, server)
    assert first["arguments"] == second["arguments"] == ["show"]
    assert second["environment"]["RAY_JOB_ID"] == "02"
    assert "CUDA_VISIBLE_DEVICES=1" in second["from C"]
    assert first["path"][0] == str(PROGRAMS)  # the folder of the worker's program


def test_workers_whose_imports_may_differ_do_not_share_a_server(host: Host) -> None:
    first, second = (run(host, "show", VLLM_LOGGING_LEVEL=level)["parent"] for level in ("INFO", "WARNING"))
    assert first != second


@pytest.mark.parametrize("reason", [{"ASSAY_FORK_SERVER": "off"}, {"KIND_OF_TEST": "no_such_module"}])
def test_without_a_server_the_process_becomes_the_worker(host: Host, reason: dict[str, str]) -> None:
    worker = start(host, "--a=b", "c d", **reason)
    output, _ = worker.communicate(timeout=SECONDS)
    assert json.loads(output) == {"unforked": ["--a=b", "c d"], "pid": worker.pid, "options": []}
    assert worker.returncode == 0


@pytest.mark.parametrize("killed", ["the process that Ray started", "the worker"])
def test_both_processes_end_together(host: Host, tmp_path: Path, killed: str) -> None:
    waiting = start(host, "wait", str(tmp_path / "ids"))
    [worker] = read_ids(tmp_path / "ids")
    assert worker != waiting.pid
    wait_until(lambda: psutil.Process(waiting.pid).name() == f"for {worker}", SECONDS)
    os.kill(worker if killed == "the worker" else waiting.pid, signal.SIGKILL)
    assert waiting.wait(SECONDS) == -signal.SIGKILL
    wait_until(lambda: not is_running(worker), SECONDS)


def test_a_signal_reaches_the_worker(host: Host, tmp_path: Path) -> None:
    waiting = start(host, "wait", str(tmp_path / "ids"), "politely")
    read_ids(tmp_path / "ids")
    waiting.terminate()
    assert waiting.wait(SECONDS) == 7


@pytest.mark.parametrize(("setting", "forks"), [("on", True), ("off", False), ("", False)])
def test_a_runtime_environment_names_it_only_where_it_is_on(
    monkeypatch: pytest.MonkeyPatch, setting: str, forks: bool
) -> None:
    monkeypatch.setenv("ASSAY_FORK_SERVER", setting)
    environment = build_runtime_env({"A": "1"})
    assert ("py_executable" in environment, environment["env_vars"]) == (forks, {"A": "1"})


@pytest.mark.parametrize(("path", "python"), [(True, True), (False, True), (True, False)])
def test_its_command_survives_the_shell(host: Host, monkeypatch: pytest.MonkeyPatch, path: bool, python: bool) -> None:
    """On a node with Assay, on a node without it, and on a node with Python at another path. Ray quotes like this."""
    monkeypatch.setenv("ASSAY_FORK_SERVER", "on")
    if not python:
        monkeypatch.setattr(sys, "executable", "/no such/python")
    executable = build_runtime_env({})["py_executable"]
    monkeypatch.undo()
    command = f"exec {executable} {shlex.join([WORKER, '--a=b', 'c d'])}"
    environment = host.environment | {
        "ASSAY_FORK_SERVER": "off", "PATH": f"{Path(sys.executable).parent}:{host.environment['PATH']}",
        "PYTHONPATH": host.environment["PYTHONPATH"] if path else "",
    }  # fmt: skip
    output = subprocess.run(
        ["bash", "-c", command], env=environment, cwd="/", stdout=subprocess.PIPE, text=True, check=True
    )
    assert json.loads(output.stdout)["unforked"] == ["--a=b", "c d"]
