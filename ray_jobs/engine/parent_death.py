"""Ends vLLM's processes with the process that started them, because they would keep a GPU that no job knows of.

The modules that vLLM imports in its own processes call it when they are imported.
"""

import multiprocessing
import os
import sys

from ray_jobs.runtime.confinement import exit_with_parent


def exit_with_spawner() -> None:
    """Have this process end with its parent, if multiprocessing spawned it; else do nothing.

    If the parent has ended already, this process ends at once. While a spawned process still reads its arguments, it
    does not know its parent. Then it notices only later that the parent has ended.
    """
    if "--multiprocessing-fork" not in sys.orig_argv:
        return
    exit_with_parent()
    started_by = multiprocessing.parent_process()
    if started_by and os.getppid() != started_by.pid:
        os._exit(1)
