"""Starts a small process that kills the actor if the actor's event loop, or all of its Python, hangs.

The actor uses it. An actor is detached, so perhaps no driver notices that it hangs, and it would keep its GPU for good.
A thread of the actor cannot notice it, because no thread runs while a regular expression holds Python's lock.
"""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

DEFAULT_SILENCE_S = 60.0  # seconds without an answer, after which an engine counts as silent

PROGRAM = Path(__file__).with_name("watchdog_process.py")


def silence_limit() -> float:
    """Seconds after which an engine that does not answer is silent: `ASSAY_ENGINE_SILENCE`, or DEFAULT_SILENCE_S."""
    return float(os.environ.get("ASSAY_ENGINE_SILENCE") or DEFAULT_SILENCE_S)


class Watchdog:
    """Kills this process (SIGKILL) after `seconds` without a call of `beat`. The watchdog ends with this process."""

    def __init__(self, seconds: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(PROGRAM), str(os.getpid()), str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdin
        self._pipe = self._process.stdin.fileno()
        os.set_blocking(self._pipe, False)

    def beat(self) -> None:
        """Tell the watchdog that this process is not silent."""
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(self._pipe, b".")
