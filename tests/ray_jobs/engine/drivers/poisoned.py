"""Caption two scenes. Rendering the second one kills the engine that asked for it."""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from scenes import ARGUMENTS, SCENES, TASKS, build_requests, caption_scenes, print_result


def kill_engine_at_row_1(part: str, rows: Sequence[int], maker: Any) -> Iterator[Any]:
    import psutil

    for row, request in zip(rows, build_requests(part, rows, maker), strict=True):
        if row == 1:
            engines = []
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    if "EngineCore" in " ".join([process.name(), *process.cmdline()]):
                        process.kill()
                        engines.append(process)
            psutil.wait_procs(engines, 10)
            time.sleep(1)  # vLLM looks after its process by itself
        yield request


del SCENES[2:]
TASKS[:] = [{"part": "part-0", "rows": [0, 1]}]
print_result(caption_scenes(ARGUMENTS[0], kill_engine_at_row_1))
