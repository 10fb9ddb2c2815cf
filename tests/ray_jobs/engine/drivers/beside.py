"""Ask by three checkpoints of an engine with two processes that render: quickly twice, in vain, and slowly."""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scenes import ARGUMENTS, ENGINE, build_requests, caption_scenes, print_result, wait_for_test

from ray_jobs.inputs.errors import RetryableError

*uris, place = ARGUMENTS
engine = ENGINE.model_copy(update={"renderers": 2})


def slow(part: str, rows: Sequence[int], maker: Any) -> Iterator[Any]:
    for request in build_requests(part, rows, maker):
        Path(place, f"{part}-{os.getpid()}").touch()
        time.sleep(0.3)
        yield request


def broken(part: str, rows: Sequence[int], maker: Any) -> Iterator[Any]:
    raise RetryableError(f"{part} is gone")
    yield


runs: list[Any] = [caption_scenes(uri, engine=engine) for uri in uris[:2]]
try:
    caption_scenes(uris[1], broken, engine=engine)
except RetryableError as error:
    runs.append(str(error))
wait_for_test()
runs.append(caption_scenes(uris[2], slow, engine=engine))
print_result(runs)
