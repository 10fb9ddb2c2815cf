"""Confines a process before it reads foreign files: no network, no other programs, bounded memory and CPU time.

`probe_process` calls it in its own process, in this order: `leave_network` first, while there is one thread, then the
imports, then `limit_resources`. If the kernel grants no network namespace, the audit hook alone refuses sockets.
"""

import ctypes
import os
import resource
import signal
import sys
from typing import Any

NEW_NETWORK, NEW_USER = 0x40000000, 0x10000000  # CLONE_NEWNET, CLONE_NEWUSER
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
SOCKETS = {
    "socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname",
    "socket.gethostbyaddr", "urllib.Request",
}  # fmt: skip
PROGRAMS = {
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "os.startfile",
    "pty.spawn", "pickle.find_class",
}  # fmt: skip
FILE_BYTES = 1 << 20  # of the largest file that the process may write

_refused: set[str] = set()


def exit_with_parent() -> None:
    """Have the kernel kill this process when its parent ends."""
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)


def leave_network() -> bool:
    """Give up the network for good. Returns whether the kernel enforces it, and not the audit hook alone."""
    exit_with_parent()
    libc = ctypes.CDLL(None, use_errno=True)
    is_isolated = any(libc.unshare(flags) == 0 for flags in (NEW_NETWORK, NEW_NETWORK | NEW_USER))
    _refused.update(SOCKETS)
    sys.addaudithook(_refuse)
    return is_isolated


def limit_resources(memory: int, seconds: int) -> None:
    """Limit this process to `memory` more bytes and `seconds` more of CPU time; no program, large file or core file."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = int(used.ru_utime + used.ru_stime) + seconds
    limit_memory(memory)
    _lower_limit(resource.RLIMIT_CPU, cpu)
    _lower_limit(resource.RLIMIT_FSIZE, FILE_BYTES)
    _refused.update(PROGRAMS)


def limit_memory(more: int) -> None:
    """Limit this process to `more` bytes above its present use, and let a crash write no core file."""
    _lower_limit(resource.RLIMIT_DATA, _data_bytes() + more)
    _lower_limit(resource.RLIMIT_CORE, 0)


def _lower_limit(what: int, most: int) -> None:
    """Set the soft and the hard limit of a resource. Limits only become lower."""
    hard = resource.getrlimit(what)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))


def _data_bytes() -> int:
    with open("/proc/self/status") as file:
        return 1024 * int(next(line.split()[1] for line in file if line.startswith("VmData:")))


def _refuse(event: str, _: tuple[Any, ...]) -> None:
    if event in _refused:
        raise PermissionError(f"{event} is refused in process {os.getpid()}: a checkpoint needs none")
