"""Tries one forbidden thing in a confined process and prints the result. Started by test_checkpoint_probe."""

import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable

from ray_jobs.runtime.confinement import leave_network, limit_resources


def connect() -> None:
    socket.create_connection(("127.0.0.1", int(sys.argv[2])), timeout=5)


def send() -> None:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", int(sys.argv[2])))


def connect_below_python() -> None:
    """Connect by the system call, below every audit hook."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    address = (2).to_bytes(2, "little") + int(sys.argv[2]).to_bytes(2, "big") + bytes([127, 0, 0, 1]) + bytes(8)
    if libc.connect(libc.socket(2, 1, 0), address, 16) != 0:
        raise OSError(ctypes.get_errno(), "connect failed")


def write_much() -> None:
    with open(sys.argv[3], "wb") as file:
        file.write(bytes(4 << 20))
        file.flush()


ATTEMPTS: dict[str, Callable[[], object]] = {
    "connect": connect,
    "send": send,
    "connect_below_python": connect_below_python,
    "resolve": lambda: socket.getaddrinfo("example.org", 80),
    "fetch": lambda: urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[2]}/", timeout=5),
    "system": lambda: os.system("true"),
    "popen": lambda: subprocess.run(["true"], check=True),
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "fork": os.fork,
    "memory": lambda: bytearray(1 << 30),
    "write_much": write_much,
}

if __name__ == "__main__":
    alone = leave_network()
    limit_resources(256 << 20, 30)
    try:
        ATTEMPTS[sys.argv[1]]()
        print("done")
    except (OSError, MemoryError) as error:
        print("refused", type(error).__name__, "alone" if alone else "by the hook")
