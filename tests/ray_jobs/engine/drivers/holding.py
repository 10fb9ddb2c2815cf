"""Hold the engine for as long as this process lives."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from scenes import ARGUMENTS, build_requests, caption_scenes


def build_slowly(part: str, rows: Sequence[int], maker: Any) -> Iterator[Any]:
    for request in build_requests(part, rows, maker):
        time.sleep(60)
        yield request


caption_scenes(ARGUMENTS[0])
print("HOLDING", flush=True)
caption_scenes(ARGUMENTS[0], build_slowly)
