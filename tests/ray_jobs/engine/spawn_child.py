"""Spawns a process that is handed what vLLM hands to its own; that one prints its id, and both wait."""

import multiprocessing
import os
import time
from typing import Any

from ray_jobs.engine.config_overrides import make_runnable


def wait(_: Any) -> None:
    print(os.getpid(), flush=True)
    time.sleep(60)


if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=wait, args=(make_runnable,)).start()
    time.sleep(60)
