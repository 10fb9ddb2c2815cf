"""Work spread over the cluster by Ray Data. Importing that takes a second, which a job without it need not wait."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ray


def ray_dataset(items: Sequence[Any], blocks: int | None = None) -> "ray.data.Dataset":
    """A dataset of the items, in as many blocks as there are items unless told otherwise."""
    from ray import data

    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1  # a node with a GPU can take long to start; the job has its own limit
    context.raise_original_map_exception = True  # else a BadInput of a worker arrives as text only
    for noisy in ("ray.data", "ray.llm", "ray.serve"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return data.from_items(list(items), override_num_blocks=blocks or len(items))
