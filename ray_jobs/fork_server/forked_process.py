"""Makes a process that the server has just forked into the process that the client asked for, and runs the program.

Everything here runs in the forked process. `take_over` takes over the client's environment, folder, descriptors, limits
and signals, and waits for the client's word. `run_program` then runs the module as `python -m` does.
"""

import fcntl
import gc
import importlib.util
import io
import json
import os
import random
import resource
import select
import signal
import socket
import sys
import types
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ray_jobs.fork_server import client, messages

SET_NAME = 15  # PR_SET_NAME of prctl
GO_SECONDS = 30.0  # until the client says go; a client that has given up closes the connection at once


@dataclass(frozen=True)
class ForkedProgram:
    module: str
    connection: socket.socket


def take_over(connection: socket.socket, descriptors: list[int], imported_environment: dict[str, str]) -> ForkedProgram:
    """`imported_environment` are the variables that the server's imports have set.

    Returns the program to run once the client has said go. Raises OSError or ValueError if this process cannot be
    what the client asked for, and NoMessage if the client has given up. Then the program has not begun."""
    request_file, life, *given = descriptors
    os.setsid()
    die_with(life)
    request = json.loads(_read(request_file))
    os.environ.clear()
    os.environ.update(request["environment"] | imported_environment)
    os.chdir(request["folder"])
    os.umask(request["umask"])
    os.sched_setaffinity(0, request["cores"])
    for name, soft in request["limits"].items():
        limit = getattr(resource, name)
        resource.setrlimit(limit, (soft, resource.getrlimit(limit)[1]))
    connection = _place_descriptors(dict(zip(request["numbers"], given, strict=True)), connection, life)
    _renew_interpreter(request)
    _set_signals(request["ignored"])
    server = request["server"]
    client.own_server = client.Server(server["kind"], server["key"], request["environment"], server["path"])
    own_handle = os.pidfd_open(os.getpid())
    messages.send(connection, f"ready {os.getpid()}", [own_handle])
    os.close(own_handle)
    words, _ = messages.receive(connection, GO_SECONDS)
    if words != ["go"]:
        raise ValueError("the client did not say go")
    signal.pthread_sigmask(signal.SIG_SETMASK, request["blocked"])
    return ForkedProgram(request["module"], connection)


def die_with(life: int) -> None:
    """Have the kernel kill this process and its group when the other end of the pipe closes.

    Nobody writes to the pipe. Its other end closes when the client ends, however it ends. The kernel then sends SIGKILL
    as the pipe's signal for "readable", so no thread of ours has to watch.
    """
    fcntl.fcntl(life, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(life, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    ended = select.poll()
    ended.register(life, select.POLLIN)
    if ended.poll(0):  # before the kernel knew
        os._exit(1)


def run_program(program: ForkedProgram) -> None:
    """Run the module as `__main__`, and tell the client the exit code just before this process ends with it."""
    try:
        _run_as_main(program.module)
    except SystemExit as end:
        _announce(program, end.code if isinstance(end.code, int) else int(end.code is not None))
        raise
    except BaseException:
        _announce(program, 1)
        raise
    _announce(program, 0)


def _announce(program: ForkedProgram, code: int) -> None:
    with suppress(OSError):
        messages.send(program.connection, f"exiting {code & 0xFF}")


def _run_as_main(name: str) -> None:
    """Run the module's code in a new `__main__`, which stays `sys.modules["__main__"]` until the process ends."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"no module {name}")
    code = spec.loader.get_code(name)  # type: ignore[attr-defined]
    module = types.ModuleType("__main__", None)
    module.__dict__.update(
        __spec__=spec, __loader__=spec.loader, __file__=spec.origin, __cached__=spec.cached, __package__=spec.parent
    )
    sys.argv[0] = str(spec.origin)
    sys.modules["__main__"] = module
    exec(code, module.__dict__)  # noqa: S102  the client's own program


def _read(file: int) -> bytes:
    content, offset = b"", 0
    while more := os.pread(file, 1 << 20, offset):
        content, offset = content + more, offset + len(more)
    os.close(file)
    return content


def _place_descriptors(wanted: dict[int, int], connection: socket.socket, life: int) -> socket.socket:
    """Give the client's descriptors their numbers. Returns the connection, which may have another number now."""
    above = max(wanted, default=2) + 1
    moved = {number: fcntl.fcntl(here, fcntl.F_DUPFD_CLOEXEC, above) for number, here in wanted.items()}
    fcntl.fcntl(life, fcntl.F_DUPFD_CLOEXEC, above)  # the copy keeps the kernel's watch on the pipe
    moved_connection = socket.socket(fileno=fcntl.fcntl(connection, fcntl.F_DUPFD_CLOEXEC, above))
    connection.close()
    for here in (life, *wanted.values()):
        os.close(here)
    for number, here in moved.items():
        os.dup2(here, number)
        os.close(here)
    return moved_connection


def _renew_interpreter(request: dict[str, Any]) -> None:
    """Make the interpreter as it is when Python has just started the program."""
    sys.argv = ["-m", *request["arguments"]]
    sys.orig_argv = request["command"] or sys.orig_argv
    given = dict(zip(request["server"]["path"], request["search_path"], strict=True))
    sys.path[:] = [given.get(entry, entry) for entry in sys.path]  # imports have added entries, as in any process
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                line_buffering=number == 2 or os.isatty(number), write_through=request["unbuffered"] or number == 2
            )
    sys.stdin = open(0, encoding=sys.stdout.encoding, closefd=False)  # noqa: SIM115
    random.seed()
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
    if multiprocessing := sys.modules.get("multiprocessing.process"):
        multiprocessing.current_process().authkey = os.urandom(32)
    _name_process(request["module"].rpartition(".")[2])
    gc.enable()


def _name_process(name: str) -> None:
    """Set the name that `ps` and `top` show, at most 15 bytes of it."""
    import ctypes

    ctypes.CDLL(None).prctl(SET_NAME, name.encode(), 0, 0, 0)


def _set_signals(ignored: list[int]) -> None:
    """Ignore what the client ignores. All other signals have their default already."""
    for number in ignored:
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            with suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_IGN)
