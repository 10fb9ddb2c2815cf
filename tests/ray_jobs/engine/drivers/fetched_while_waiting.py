"""Hold the engine until the node has fetched the checkpoint of a waiting job. Then caption with both checkpoints."""

import threading
import time
from typing import Any

from scenes import ARGUMENTS, ENGINE, caption_scenes, print_result

from ray_jobs.checkpoints import inspect
from ray_jobs.engine.client import warm
from ray_jobs.engine.client.session import PREFIX, engine_session
from ray_jobs.runtime.private_cache import ensure_cache_folder

second, third = ARGUMENTS
spec = inspect.resolve(second)
runs: list[dict[str, Any]] = []


def is_copied(uri: str) -> bool:
    there, end = ensure_cache_folder() / inspect.resolve(uri).fingerprint, time.time() + 60
    while not there.exists() and time.time() < end:
        time.sleep(0.1)
    return there.exists()


with engine_session(PREFIX + warm.engine_key(spec, ENGINE), spec, ENGINE):
    waiting = threading.Thread(target=lambda: runs.append(caption_scenes(third)))
    waiting.start()
    assert is_copied(third)
    assert not runs
waiting.join()
runs.append(caption_scenes(second, next_checkpoint=f"{second}/nothing"))
print_result(runs)
