"""Measures the CPU time and the memory of this process's descendants by kind while something runs.

`engine_gpu ours` prints it as a table: what the driver, the engines, the renderers and Ray's object store cost.
"""

import threading
import time
from collections import Counter, defaultdict
from contextlib import suppress

import psutil
import ray

from benchmarks.command_cost import name_kind


class ProcessCosts:
    """Samples twice per second between `__enter__` and `__exit__`.

    `cpu`: seconds of a core by kind. `memory`: the largest sum over the processes of a kind at one time, in bytes,
    without shared pages. `processes`: the largest number of them. `object_store`: the most bytes that Ray's object
    store held.
    """

    def __init__(self) -> None:
        self.cpu: dict[str, float] = defaultdict(float)
        self.memory: dict[str, int] = defaultdict(int)
        self.processes: dict[str, int] = defaultdict(int)
        self.object_store = 0
        self.seconds = 0.0
        self._kinds: dict[int, str] = {}
        self._first: dict[int, float] = {}
        self._last: dict[int, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "ProcessCosts":
        self._began = time.monotonic()
        self._sample(is_first=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._sample()
        self.seconds = time.monotonic() - self._began
        for pid, seconds in self._last.items():
            self.cpu[self._kinds[pid]] += seconds - self._first[pid]

    def format_table(self) -> str:
        """A Markdown table with a row per kind, the most expensive first, and one for the object store."""
        lines = ["| process | most at once | CPU s | of a core, % | memory, MB |", "| --- " * 5 + "|"]
        for kind, seconds in sorted(self.cpu.items(), key=lambda entry: -entry[1]):
            if seconds >= 0.05 or self.memory[kind] > 1e6:
                cells = f"{seconds:.1f} | {100 * seconds / self.seconds:.0f} | {self.memory[kind] / 1e6:.0f}"
                lines.append(f"| {kind or 'others'} | {self.processes[kind]} | {cells} |")
        lines.append(f"| Ray's object store | | | | {self.object_store / 1e6:.0f} |")
        return "\n".join(lines)

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            self._sample()

    def _sample(self, is_first: bool = False) -> None:
        memory: Counter[str] = Counter()
        counts: Counter[str] = Counter()
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                times, pages = process.cpu_times(), process.memory_info()
                kind = self._kinds[process.pid] = self._kinds.get(process.pid) or name_kind(process)
                # What a process used before belongs to the start of its engine.
                self._first.setdefault(process.pid, times.user + times.system if is_first else 0.0)
                self._last[process.pid] = times.user + times.system
                memory[kind] += pages.rss - pages.shared
                counts[kind] += 1
        for kind, size in memory.items():
            self.memory[kind] = max(self.memory[kind], size)
            self.processes[kind] = max(self.processes[kind], counts[kind])
        with suppress(Exception):  # the cluster's last words may come late
            used = ray.cluster_resources()["object_store_memory"] - ray.available_resources()["object_store_memory"]
            self.object_store = max(self.object_store, int(used))
