"""Runs the steps of `benchmarks.gpu_session`: each in processes of its own with a time limit, on GPUs of its own.

A line of `rows.jsonl` tells how a step ended, and NAME.log has what it printed. Both are written while steps run, so
that nothing is lost when this process is killed. Every process of a step has the step's mark in its environment. By
this mark the processes that a step leaves behind are found and ended, also those of a session that was killed: Ray's
and vLLM's processes do not end with their parent.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.session_steps import Step

MARK = "ASSAY_GPU_SESSION"
TAIL_LINES = 15  # of a step that failed
LEAST_SECONDS = 60.0  # with less time left, no step is begun


@dataclass
class Run:
    """A step that runs, the GPUs that it has, and the time of its end at the latest."""

    step: Step
    process: "subprocess.Popen[bytes]"
    gpus: tuple[int, ...]
    mark: str
    began: float
    end: float
    cut_by_total: bool


class Runner:
    """Runs steps side by side while there are GPUs, until `end`, in seconds of `time.monotonic`."""

    def __init__(
        self, results: Path, gpus: int, end: float, tree: Path, patched_tree: Path | None = None, poll: float = 1.0
    ) -> None:
        self.results, self.end, self.tree, self.patched_tree, self.poll = results, end, tree, patched_tree, poll
        self.gpu_count, self.free = gpus, list(range(max(1, gpus)))
        self.runs: list[Run] = []
        self.steps: dict[str, Step] = {}

    def run_all(self, steps: list[Step], on_change: Callable[[], None]) -> None:
        """Run the steps that have no result. `on_change` is called after each look at the steps that run."""
        end_marked(f"{self.results}:")  # what a killed session left
        self.steps = {step.name: step for step in steps}
        waiting = [step for step in steps if not self._is_done(step)]
        # What was never tried comes first: a step that fails each time must not use up the time of the others.
        waiting.sort(key=lambda step: read_outcome(self.results, step.name) is not None and not step.makes)
        try:
            while waiting or self.runs:
                for step in list(waiting):
                    if self._start(step):
                        waiting.remove(step)
                if not self.runs:
                    break
                time.sleep(self.poll)
                for run in list(self.runs):
                    self._end_if_over(run)
                on_change()
        finally:
            for run in list(self.runs):  # this process was interrupted
                self._end(run, "cut")
            on_change()
        for step in waiting:
            print(f"{step.name}: not run", flush=True)

    def _start(self, step: Step) -> bool:
        """Start the step if it can run now. Returns whether it was started."""
        left = self.end - time.monotonic()
        gpu_count = step.gpus if self.gpu_count else 1  # on a CPU any step runs, one after the other
        if left < LEAST_SECONDS or step.minutes * 60 > max(left, 0) or gpu_count > len(self.free):
            return False
        if step.patched and self.patched_tree is None:
            return False
        if not all(self._is_done(self.steps[name]) for name in step.needs):
            return False
        gpus = tuple(self.free[:gpu_count])
        self.free = self.free[gpu_count:]
        tree = self.patched_tree if step.patched and self.patched_tree else self.tree
        mark = f"{self.results}:{step.name}:{time.time_ns()}"
        environment = os.environ | {MARK: mark, "PYTHONUNBUFFERED": "1", "ASSAY_BENCHMARK_LOG": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(tree), str(tree / "plugins"), os.environ.get("PYTHONPATH", "")]
        )
        if self.gpu_count:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(_list_visible()[gpu] for gpu in gpus)
        path = self.results / f"{step.name}.log"
        if path.exists():
            path.rename(self.results / f"{step.name}.before.log")
        with path.open("wb") as log:
            process = subprocess.Popen(
                [*_pin_to_cores(gpus, self.gpu_count), *step.command], env=environment, cwd=tree, stdout=log,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        limit = min(step.limit, left)
        now = time.monotonic()
        self.runs.append(Run(step, process, gpus, mark, now, now + limit, left < step.limit))
        print(f"{time.strftime('%T')} {step.name}: began on GPU {gpus}, limit {limit:.0f} s", flush=True)
        return True

    def _is_done(self, step: Step) -> bool:
        """Whether the step has its result, and what it makes for other steps is there: not so on another machine."""
        is_there = step.makes is None or step.makes.exists()
        return is_there and read_outcome(self.results, step.name) == "done"

    def _end_if_over(self, run: Run) -> None:
        code = run.process.poll()
        if code is not None:
            self._end(run, "done" if code == 0 else "failed")
        elif time.monotonic() > run.end:
            self._end(run, "cut" if run.cut_by_total else "too long")

    def _end(self, run: Run, outcome: str) -> None:
        end_marked(run.mark)
        run.process.wait()
        self.runs.remove(run)
        self.free = sorted([*self.free, *run.gpus])
        row: dict[str, Any] = {
            "step": run.step.name, "outcome": outcome, "seconds": round(time.monotonic() - run.began, 1),
            "ended": time.strftime("%FT%T"), "gpus": len(run.gpus),
        }  # fmt: skip
        if outcome != "done":
            lines = (self.results / f"{run.step.name}.log").read_text(errors="replace").splitlines()
            row["tail"] = [line[-300:] for line in lines if line.strip()][-TAIL_LINES:]
        with (self.results / "rows.jsonl").open("a") as rows:
            rows.write(json.dumps(row) + "\n")
            rows.flush()
            os.fsync(rows.fileno())
        print(f"{time.strftime('%T')} {run.step.name}: {outcome} after {row['seconds']} s", flush=True)


def read_rows(results: Path) -> dict[str, dict[str, Any]]:
    """The last row of each step that has ended. A line that a kill cut in the middle is left out."""
    rows = {}
    if (path := results / "rows.jsonl").exists():
        for line in path.read_text().splitlines():
            try:
                row = json.loads(line)
                rows[row["step"]] = row
            except (ValueError, KeyError):
                continue
    return rows


def read_outcome(results: Path, name: str) -> str | None:
    """How the step ended when it last ran; None if it never ended."""
    row = read_rows(results).get(name)
    return row["outcome"] if row else None


def end_marked(mark: str) -> None:
    """Kill all processes whose environment has a mark that begins so, until there are none."""
    for _ in range(20):
        processes = [process for process in psutil.process_iter() if _has_mark(process, mark)]
        if not processes:
            return
        for process in processes:
            try:
                process.kill()
            except psutil.Error:
                continue
        psutil.wait_procs(processes, timeout=2)


def _has_mark(process: psutil.Process, mark: str) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and bool(process.environ().get(MARK, "").startswith(mark))
    except (psutil.Error, OSError):
        return False


def _list_visible() -> list[str]:
    """The GPUs that this process may use, as CUDA names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").strip()
    return visible.split(",") if visible else [str(number) for number in range(64)]


def _pin_to_cores(gpus: tuple[int, ...], gpu_count: int) -> list[str]:
    """The command that gives a step its share of the cores, if there are several GPUs."""
    if gpu_count < 2:
        return []
    cores = sorted(os.sched_getaffinity(0))
    share = len(cores) // gpu_count
    return ["taskset", "-c", ",".join(str(core) for gpu in gpus for core in cores[gpu * share : (gpu + 1) * share])]
