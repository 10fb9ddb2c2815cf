"""Caption with three checkpoints, each when the test says so: quickly, noting each rendered row, and until a kill."""

import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scenes import ARGUMENTS, build_requests, caption_scenes, print_result, wait_for_test

*uris, place = ARGUMENTS
logging.getLogger("assay").addHandler(logging.StreamHandler(sys.stdout))
logging.getLogger("assay").setLevel(logging.INFO)


def build_all_but_last(part: str, rows: Sequence[int], maker: Any) -> Iterator[Any]:
    *first, last = build_requests(part, rows, maker)
    yield from first
    Path(place, f"unfinished-{part}-{os.getpid()}").touch()
    while not Path(place, "killed").exists():
        time.sleep(0.1)
    yield last


def build_and_note(part: str, rows: Sequence[int], maker: Any) -> Iterator[Any]:
    for request in build_requests(part, rows, maker):
        Path(place, f"{part}-{os.getpid()}").touch()
        yield request


runs = [caption_scenes(uris[0])]
wait_for_test()
runs.append(caption_scenes(uris[1], build_and_note))
wait_for_test()
runs.append(caption_scenes(uris[2], build_all_but_last))
print_result(runs)
