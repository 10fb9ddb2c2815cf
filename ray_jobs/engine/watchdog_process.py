"""Kills its parent when the parent stops writing to the pipe on standard input. `watchdog.Watchdog` starts it by path.

Arguments: the parent's process id, and the seconds of silence after which the parent is killed. The process ends when
the pipe is closed, because then the parent has ended. It imports only modules that load fast, so that it is ready soon.
"""

import os
import select
import signal
import sys


def main(parent: int, silence: float) -> None:
    handle = os.pidfd_open(parent)  # names this parent only, and no later process with the same id
    if os.getppid() != parent:
        return
    while select.select([0], [], [], silence)[0]:
        if not os.read(0, 4096):
            return
    signal.pidfd_send_signal(handle, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
