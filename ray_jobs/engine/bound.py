"""Processes of vLLM's that must not outlive the one that started them: they would hold a GPU that nobody knows of."""

import ctypes
import multiprocessing
import os
import signal
import sys


def bind() -> None:
    """End this process with the one that started it, where it is a child of multiprocessing's; else do nothing.

    One that is spawned does not know by whom while it reads what it was handed; whether that one is gone is seen later.
    """
    started_by = multiprocessing.parent_process()
    if started_by or "--multiprocessing-fork" in sys.orig_argv:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if started_by and os.getppid() != started_by.pid:
        os._exit(1)
