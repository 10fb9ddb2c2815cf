"""Processes that are forked beside the actor have what spawned ones have, and none outlives the actor."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from stage_jobs import wait_until

PROGRAM = Path(__file__).with_name("fork_processes.py")


@pytest.fixture
def started(tmp_path: Path) -> Iterator[tuple["subprocess.Popen[str]", list[psutil.Process]]]:
    """The program, and its processes: itself as the actor, the fork source, the engine, and a worker of the engine."""
    environment = os.environ | {"PYTHONPATH": f"{PROGRAM.parent}:{os.environ.get('PYTHONPATH', '')}"}
    program = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(tmp_path / "ids")], env=environment, stdout=subprocess.PIPE, text=True
    )
    processes: list[psutil.Process] = []
    try:
        wait_until(lambda: (tmp_path / "ids").exists() and bool((tmp_path / "ids").read_text()), 60)
        processes = [psutil.Process(int(number)) for number in (tmp_path / "ids").read_text().split()]
        yield program, processes
    finally:
        for process in [program, *processes]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        program.wait()


def test_a_forked_process_has_the_environment_and_the_output_of_its_starter(
    started: tuple["subprocess.Popen[str]", list[psutil.Process]],
) -> None:
    program, (actor, source, engine, worker) = started
    assert program.stdout
    assert program.stdout.readline() == "output of the engine: engine of the actor\n"
    assert program.stdout.readline() == "alive: True True\n"
    assert actor.pid == program.pid
    assert [process.ppid() for process in (source, engine, worker)] == [actor.pid, source.pid, source.pid]


@pytest.mark.parametrize("killed", [0, 1], ids=["the actor", "the fork source"])
def test_all_end_with_the_actor_and_with_the_fork_source(
    started: tuple["subprocess.Popen[str]", list[psutil.Process]], killed: int
) -> None:
    _, processes = started
    os.kill(processes[killed].pid, signal.SIGKILL)
    children = processes[killed + 1 :]
    assert psutil.wait_procs(children, 30)[1] == []
