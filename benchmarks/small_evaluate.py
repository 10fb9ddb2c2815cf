"""Measures from how many captions on Ray Data scores them sooner than a driver alone; prints a Markdown table.

    .assay/data/bin/python -m benchmarks.small_evaluate                   # two cores, five minutes
    .assay/data/bin/python -m benchmarks.small_evaluate --sizes 250 5000 --rounds 1

`SMALL_ROWS` in ray_jobs/runtime/ray_dataset.py is set by this table. The captions are those of `benchmarks.evaluate`,
and the jobs run as Airflow runs them, on a running Ray cluster with these cores. Each cell is the median of the rounds,
whose order of both methods changes.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ray

from benchmarks.evaluate import CORES, write_captions
from benchmarks.process_costs import ProcessCosts

METHODS = {"alone": sys.maxsize, "Ray Data": -1}  # the value of SMALL_ROWS
SIZES = (250, 1000, 2500, 5000, 10_000, 20_000, 40_000)


def measure(size: int, method: str, work: Path) -> tuple[float, float]:
    """The wall seconds of the job, and the seconds of a core of all processes."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        spec = write_captions(Path(folder), size)
        command = [sys.executable, "-m", "benchmarks.small_evaluate", "--method", method, "--spec", spec.uri]
        environment = os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
        with ProcessCosts() as costs:
            began = time.perf_counter()
            job = subprocess.run(command, env=environment, capture_output=True, text=True)
            wall = time.perf_counter() - began
            time.sleep(1)  # so that the workers' last work is seen
        if job.returncode:
            raise RuntimeError(f"{job.stdout[-2000:]}\n{job.stderr[-2000:]}")
        return wall, sum(costs.cpu.values())


def main(sizes: list[int], rounds: int, work: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    os.sched_setaffinity(0, cores)
    ray.init("local", num_cpus=len(cores), include_dashboard=False, logging_level="warning", log_to_driver=False)
    measure(sizes[0], "Ray Data", work)  # the cluster's first workers
    print("| captions | alone, s | Ray Data, s | alone, CPU s | Ray Data, CPU s |\n" + "| --- " * 5 + "|")
    for size in sizes:
        measured: dict[str, list[tuple[float, float]]] = {method: [] for method in METHODS}
        for number in range(rounds):
            for method in sorted(METHODS, reverse=number % 2 == 1):
                measured[method].append(measure(size, method, work))
        medians = {
            method: [statistics.median(costs) for costs in zip(*of_method, strict=True)]
            for method, of_method in measured.items()
        }
        cells = " | ".join(f"{medians[method][kind]:.2f}" for kind in (0, 1) for method in METHODS)
        print(f"| {size} | {cells} |", flush=True)


def evaluate(spec_uri: str, method: str) -> int:
    """The exit code of the stage, after SMALL_ROWS is set where it is read."""
    from ray_jobs import evaluate as stage
    from ray_jobs.judge import preference
    from ray_jobs.metrics import run

    run.SMALL_ROWS = preference.SMALL_ROWS = METHODS[method]  # type: ignore[attr-defined]
    return stage.main(spec_uri)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.small_evaluate")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--method", choices=list(METHODS), help=argparse.SUPPRESS)
    parser.add_argument("--spec", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.method:
        sys.exit(evaluate(options.spec, options.method))
    with tempfile.TemporaryDirectory(prefix="assay-benchmark-") as place:
        main(options.sizes, options.rounds, Path(place))
