"""Spreads work over the cluster with Ray Data. It is imported late, because the import takes a second."""

import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from ray_jobs.runtime.waiting import log_while_waiting

if TYPE_CHECKING:
    import ray


Item = TypeVar("Item")

# Up to so many captions a driver alone is quicker: at 5,000 it took 0.70 of the time and 0.52 of the CPU, and at 10,000
# as much CPU (benchmarks.small_evaluate, on two cores).
SMALL_ROWS = 5_000


def log_until_first_row(rows: Iterator[Item], what: str) -> Iterator[Item]:
    """Yields the same rows. During the wait for the first row, a log line states the cluster's free CPUs."""
    with log_while_waiting(lambda: _describe_wait(what)):
        first = list(islice(rows, 1))
    yield from first
    yield from rows


def _describe_wait(what: str) -> str:
    import ray

    total, free = ray.cluster_resources().get("CPU", 0), ray.available_resources().get("CPU", 0)
    remedy = "" if total else ": start a worker"
    return f"{what}: waiting for the first task, {free:g} CPUs free of {total:g} on the nodes that are up{remedy}"


def ray_dataset(items: Sequence[Any], blocks: int | None = None) -> "ray.data.Dataset":
    """Returns a dataset of the items in `blocks` blocks, one block per item when None."""
    from ray import data

    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1  # a node with a GPU can take long to start; the job has its own limit
    context.raise_original_map_exception = True  # else an InputError of a worker arrives only as text
    for name in ("ray.data", "ray.llm", "ray.serve"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return data.from_items(list(items), override_num_blocks=blocks or len(items))
