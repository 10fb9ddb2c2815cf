"""What a command costs: wall seconds, and the CPU seconds and memory of every process it starts."""

import os
import subprocess
import threading
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

MARK = "ASSAY_BENCHMARK"


@dataclass
class Cost:
    """`memory`: for each kind of process the most that one of them held, in bytes, shared pages left out.

    `together`: the most that all of them held at one time, shared pages counted once, looked at once a second.
    """

    wall: float = 0.0
    cpu: float = 0.0
    memory: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    together: int = 0
    cpu_of: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    output: str = ""


def measured(command: list[str], environment: dict[str, str] | None = None, every: float = 0.1) -> Cost:
    """Run a command to its end. Daemons that it leaves behind are counted too, found by a mark in their environment.

    The processes are looked at ten times a second, so up to that much of each one's end is missed.
    """
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    cost, cpu, done = Cost(), {}, threading.Event()
    process = subprocess.Popen(
        command, env=os.environ | (environment or {}) | {MARK: mark},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip

    def watch() -> None:
        known: dict[int, psutil.Process | None] = {}
        kinds: dict[int, str] = {}
        summed = 0.0
        while not done.is_set():
            for pid in psutil.pids():
                if pid not in known:
                    known[pid] = _marked(pid, mark)
                if (one := known[pid]) is not None:
                    with suppress(psutil.Error):
                        times, held = one.cpu_times(), one.memory_info()
                        kind = kinds[pid] = kinds.get(pid) or _kind(one)  # one that ends has no command line any more
                        cpu[pid] = kind, times.user + times.system
                        cost.memory[kind] = max(cost.memory[kind], held.rss - held.shared)
            if time.monotonic() - summed >= 1:
                summed = time.monotonic()
                cost.together = max(cost.together, sum(_share(one) for one in known.values() if one))
            done.wait(every)

    watcher = threading.Thread(target=watch)
    began = time.perf_counter()
    watcher.start()
    cost.output, _ = process.communicate()
    cost.wall = time.perf_counter() - began
    time.sleep(2 * every)
    done.set()
    watcher.join()
    if process.returncode:
        raise RuntimeError(f"{command} failed:\n{cost.output[-3000:]}")
    for kind, seconds in cpu.values():
        cost.cpu_of[kind] += seconds
    cost.cpu = sum(cost.cpu_of.values())
    return cost


def _marked(pid: int, mark: str) -> psutil.Process | None:
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        if process.environ().get(MARK) == mark:
            return process
    return None


def _share(process: psutil.Process) -> int:
    """The process's bytes in memory, of each page that several have its share (PSS)."""
    with suppress(psutil.Error):
        return int(process.memory_full_info().pss)
    return 0


def _kind(process: psutil.Process) -> str:
    """What a process is, by its command line."""
    line = " ".join(process.cmdline())
    for sign, kind in (
        ("EngineCore", "vLLM"), ("ray::", "Ray worker"), ("default_worker", "Ray worker"), ("raylet", "Ray node"),
        ("gcs_server", "Ray head"), ("forkserver", "decoder"), ("ray_jobs.", "driver"), ("dashboard", "Ray dashboard"),
    ):  # fmt: skip
        if sign in line:
            return kind
    return ""
