"""Measures a command: its wall seconds, and the CPU seconds and memory of every process that it starts."""

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
    """`memory`: for each kind of process the largest memory of one process, in bytes, without shared pages.

    `together`: the largest memory of all processes at one time, with shared pages counted once, sampled every second.
    """

    wall: float = 0.0
    cpu: float = 0.0
    memory: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    together: int = 0
    cpu_of: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    output: str = ""


def measure_command(command: list[str], environment: dict[str, str] | None = None, every: float = 0.1) -> Cost:
    """Run a command to its end. Daemons that it leaves behind are counted too: their environment has a mark.

    The processes are sampled every `every` seconds, so up to that much of the end of each process is missed.
    """
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    cost, cpu, ended = Cost(), {}, threading.Event()
    process = subprocess.Popen(
        command, env=os.environ | (environment or {}) | {MARK: mark},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip

    def watch() -> None:
        # Until this process has started its program, its environment has no mark.
        processes: dict[int, psutil.Process | None] = {process.pid: psutil.Process(process.pid)}
        kinds: dict[int, str] = {}
        summed = 0.0
        while not ended.is_set():
            for pid in psutil.pids():
                if pid not in processes:
                    processes[pid] = _find_process(pid, mark)
                if (child := processes[pid]) is not None:
                    with suppress(psutil.Error):
                        times, memory = child.cpu_times(), child.memory_info()
                        kind = kinds[pid] = kinds.get(pid) or name_kind(child)  # an ending process has no command line
                        cpu[pid] = kind, times.user + times.system
                        cost.memory[kind] = max(cost.memory[kind], memory.rss - memory.shared)
            if time.monotonic() - summed >= 1:
                summed = time.monotonic()
                cost.together = max(cost.together, sum(_read_pss(child) for child in processes.values() if child))
            ended.wait(every)

    watcher = threading.Thread(target=watch)
    began = time.perf_counter()
    watcher.start()
    cost.output, _ = process.communicate()
    cost.wall = time.perf_counter() - began
    time.sleep(2 * every)
    ended.set()
    watcher.join()
    if process.returncode:
        raise RuntimeError(f"{command} failed:\n{cost.output[-3000:]}")
    for kind, seconds in cpu.values():
        cost.cpu_of[kind] += seconds
    cost.cpu = sum(cost.cpu_of.values())
    return cost


def _find_process(pid: int, mark: str) -> psutil.Process | None:
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        if process.environ().get(MARK) == mark:
            return process
    return None


def _read_pss(process: psutil.Process) -> int:
    """The proportional set size (PSS) in bytes: a page that several processes share counts by its share."""
    with suppress(psutil.Error):
        return int(process.memory_full_info().pss)
    return 0


def name_kind(process: psutil.Process) -> str:
    """The kind of a process, by its command line."""
    line = " ".join(process.cmdline())
    for sign, kind in (
        ("EngineCore", "vLLM"), ("ray::StandInEngine", "stand-in engine"), ("ray::WarmEngine", "engine"),
        ("ray::RendererProcess", "renderer"), ("ray::", "Ray worker"), ("default_worker", "Ray worker"),
        ("raylet", "Ray node"), ("gcs_server", "Ray head"), ("forkserver", "decoder"), ("ray_jobs.", "driver"),
        ("benchmarks.stand_in", "driver"), ("dashboard", "Ray dashboard"),
    ):  # fmt: skip
        if sign in line:
            return kind
    return ""
