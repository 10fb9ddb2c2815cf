"""Finds the processes below a process, with those that a fork server has forked for one of them."""

import re
from contextlib import suppress

import psutil


def list_descendants(root: psutil.Process) -> list[psutil.Process]:
    """The root's descendants. A process named `for 123` waits for process 123, which a fork server forked for it."""
    children = root.children(recursive=True)
    descendants = list(children)
    for process in children:
        with suppress(psutil.NoSuchProcess):
            if waits_for := re.fullmatch(r"for (\d+)", process.name()):
                forked = psutil.Process(int(waits_for[1]))
                descendants += [forked, *list_descendants(forked)]
    return descendants


def find_actor(engine: psutil.Process) -> psutil.Process:
    """The Ray actor that started vLLM's process: its parent, or the parent of the process that forked it.

    Raises psutil.NoSuchProcess if the actor has ended.
    """
    for process in engine.parents():
        if "ray::" in " ".join(process.cmdline()):
            return process
    raise psutil.NoSuchProcess(engine.pid, "the actor of vLLM's process")
