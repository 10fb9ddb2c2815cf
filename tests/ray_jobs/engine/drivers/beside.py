"""Caption with three checkpoints, on an engine with two renderer processes: quickly twice, once with an error, and
slowly."""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scenes import ARGUMENTS, ENGINE, build_requests, caption_scenes, print_result, wait_for_test

from ray_jobs.inputs.errors import RetryableError

*uris, place = ARGUMENTS
engine = ENGINE.model_copy(update={"renderers": 2})


def build_slowly(part: str, rows: Sequence[int], maker: Any) -> Iterator[Any]:
    for request in build_requests(part, rows, maker):
        Path(place, f"{part}-{os.getpid()}").touch()
        time.sleep(0.3)
        yield request


def fail_to_build(part: str, rows: Sequence[int], maker: Any) -> Iterator[Any]:
    raise RetryableError(f"{part} is gone")
    yield


runs: list[Any] = [caption_scenes(uri, engine=engine) for uri in uris[:2]]
try:
    caption_scenes(uris[1], fail_to_build, engine=engine)
except RetryableError as error:
    runs.append(str(error))
wait_for_test()
runs.append(caption_scenes(uris[2], build_slowly, engine=engine))
print_result(runs)
