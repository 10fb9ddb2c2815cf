"""A small process that kills its parent, the actor, if the actor's event loop, or all of its Python, hangs.

The actor starts it. An actor is detached, so perhaps no driver notices that it hangs, and it would keep its GPU for
good. A thread of the actor cannot notice it, because no thread runs while a regular expression holds Python's lock.
"""

import os
import subprocess
import sys
from contextlib import suppress

DEFAULT_SILENCE_S = 60.0  # seconds without an answer, after which an engine counts as silent

# The program reads from a pipe, and imports nothing that takes long. A pidfd names this parent only, and no later
# process with the same id.
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
    """Seconds after which an engine that does not answer is silent: `ASSAY_ENGINE_SILENCE`, or DEFAULT_SILENCE_S."""
    return float(os.environ.get("ASSAY_ENGINE_SILENCE") or DEFAULT_SILENCE_S)


class Watchdog:
    """Kills this process (SIGKILL) if `beat` is not called for so many seconds. The watchdog ends with this process."""

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
        """Tell the watchdog that this process is not silent."""
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(self._pipe, b".")
