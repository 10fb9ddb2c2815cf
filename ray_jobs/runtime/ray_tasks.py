"""Runs the tasks of a small set as plain Ray tasks, because Ray Data takes seconds to start.

The drivers of `preprocess` and `evaluate` call it. A task runs in a Ray worker, as a task of Ray Data does.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ray_jobs.runtime.ray_dataset import log_until_first_row

SMALL_ROWS = 5_000  # images; more are work for Ray Data (benchmarks/results/2026-11-30-stages.md)

Row = dict[str, Any]


def run_tasks(tasks: Sequence[Row], work: Callable[[Row], Row], what: str, cpus: float = 1) -> Iterator[Row]:
    """Yields what `work` returns for each task, in the order in which the tasks end. Raises the errors of `work`.

    `what` names the work in the log. A task whose worker dies is run again, as Ray Data does.
    """
    return log_until_first_row(_take_results(tasks, work, cpus), what)


def _take_results(tasks: Sequence[Row], work: Callable[[Row], Row], cpus: float) -> Iterator[Row]:
    import ray

    remote = ray.remote(num_cpus=cpus, max_retries=-1)(_call)
    shared_work = ray.put(work)
    running = [remote.remote(shared_work, task) for task in tasks]
    try:
        while running:
            (ended,), running = ray.wait(running, num_returns=1)
            yield ray.get(ended)
    finally:
        for task in running:
            ray.cancel(task)


def _call(work: Callable[[Row], Row], task: Row) -> Row:
    return work(task)
