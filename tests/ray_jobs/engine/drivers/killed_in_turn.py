"""Ask by three checkpoints, each when the test says so: quickly, noting each part that is rendered, and slowly."""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scenes import ARGUMENTS, ask, await_test, said, tell

*uris, place = ARGUMENTS


def slow(part: str, rows: Sequence[int], maker: Any) -> Iterator[Any]:
    for asked in ask(part, rows, maker):
        Path(place, f"slow-{part}-{os.getpid()}").touch()
        time.sleep(0.3)
        yield asked


def noting(part: str, rows: Sequence[int], maker: Any) -> Iterator[Any]:
    for asked in ask(part, rows, maker):
        Path(place, f"{part}-{os.getpid()}").touch()
        yield asked


found = [said(uris[0])]
await_test()
found.append(said(uris[1], noting))
await_test()
found.append(said(uris[2], slow))
tell(found)
