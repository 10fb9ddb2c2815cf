"""A small process that kills its parent, the actor, when that is silent: its event loop, or all its Python, hangs.

An engine's actor is detached, so nobody may be there to notice that it hangs, and it would keep its GPU for good. A
thread of the actor cannot notice it: no thread runs while a regular expression holds Python's lock.
"""

import os
import subprocess
import sys
from contextlib import suppress

DEFAULT_SILENCE_S = 60.0  # seconds without an answer, after which an engine is ended

# Reads from a pipe, and needs nothing that takes long to import. A pidfd names no later process of the same number.
PROGRAM = """
import os, select, signal, sys
parent, silence = int(sys.argv[1]), float(sys.argv[2])
handle = os.pidfd_open(parent)
if os.getppid() != parent:
    sys.exit()
while select.select([0], [], [], silence)[0]:
    if not os.read(0, 4096):
        sys.exit()
signal.pidfd_send_signal(handle, signal.SIGKILL)
"""


def silence_limit() -> float:
    """Seconds after which an engine that does not answer is silent: `ASSAY_ENGINE_SILENCE`, or SILENCE."""
    return float(os.environ.get("ASSAY_ENGINE_SILENCE") or DEFAULT_SILENCE_S)


class Watchdog:
    """Ends this process by SIGKILL once `beat` was not called for so many seconds; ends itself with this process."""

    def __init__(self, seconds: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", PROGRAM, str(os.getpid()), str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdin
        self._pipe = self._process.stdin.fileno()
        os.set_blocking(self._pipe, False)

    def beat(self) -> None:
        """Say that all is well."""
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(self._pipe, b".")
