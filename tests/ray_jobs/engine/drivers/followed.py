"""Caption slowly with the first checkpoint, so that the second is fetched meanwhile. Print for each part whether it
was there."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from scenes import ARGUMENTS, ENGINE, TASKS, build_requests, print_result

from ray_jobs.checkpoints import inspect
from ray_jobs.engine.client import stream
from ray_jobs.runtime.private_cache import ensure_cache_folder

first, second = map(inspect.resolve, ARGUMENTS)


def build_after_fetch(part: str, rows: Sequence[int], maker: Any) -> Iterator[Any]:
    end = time.time() + 60
    while not (ensure_cache_folder() / second.fingerprint).exists() and time.time() < end:
        time.sleep(0.1)
    yield from build_requests(part, rows, maker)


pending = {task["part"]: task["rows"] for task in TASKS}
there = []
for _ in stream.stream_parts(first, ENGINE, pending, build_after_fetch, time.time(), next_checkpoint=second.uri):
    there.append((ensure_cache_folder() / second.fingerprint).exists())
print_result(there)
