"""Ends vLLM's processes with the process that started them: else they would hold a GPU that no job knows of."""

import multiprocessing
import os
import sys

from ray_jobs.runtime.confinement import exit_with_parent


def exit_with_spawner() -> None:
    """End this process with the one that started it, where it is spawned by multiprocessing; else do nothing.

    It does not know by whom while it reads what it was handed; whether that one is gone is seen later.
    """
    if "--multiprocessing-fork" not in sys.orig_argv:
        return
    exit_with_parent()
    started_by = multiprocessing.parent_process()
    if started_by and os.getppid() != started_by.pid:
        os._exit(1)
