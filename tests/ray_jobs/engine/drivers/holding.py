"""Hold the engine for as long as this process lives."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from scenes import ARGUMENTS, ask, said


def slow(part: str, rows: Sequence[int], maker: Any) -> Iterator[Any]:
    for asked in ask(part, rows, maker):
        time.sleep(60)
        yield asked


said(ARGUMENTS[0])
print("HOLDING", flush=True)
said(ARGUMENTS[0], slow)
