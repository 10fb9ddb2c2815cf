"""Asks a fork server for a process. Runs in the process that needs another one, and imports light modules only.

    process = client.fork(server, Program("ray_jobs.caption", ...))
    if process is None:
        ...                    # no server is ready: run the program in the usual way
    code = process.wait()

Whatever goes wrong before the program begins gives None, never an error, and within ANSWER_SECONDS. The program begins
only after this process has said "go", so it never runs twice.
"""

import json
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from ray_jobs.fork_server import messages, server_key
from ray_jobs.fork_server.messages import NoMessage
from ray_jobs.fork_server.socket_folder import open_folder, socket_address
from ray_jobs.fork_server.start import start_server

VARIABLE = "ASSAY_FORK_SERVER"  # off, on, or unset
JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # which Ray sets in the entrypoint of each job
ANSWER_SECONDS = 5.0  # until the forked process is ready; after that time the server counts as stuck
KILL_SECONDS = 1.0  # for a stuck server to end
STATUS_SECONDS = 2.0  # from the end of the process until the server tells its exit code


@dataclass(frozen=True)
class Server:
    """Names the fork server of a kind that fits this process. `path` is the search path for modules."""

    kind: str
    key: str
    environment: Mapping[str, str] = field(repr=False)
    path: Sequence[str] = field(repr=False)

    @classmethod
    def of_this_process(cls, kind: str) -> "Server":
        """The server for the environment that this process has now. Raises OSError if /proc cannot be read."""
        path = [os.path.abspath(entry) for entry in sys.path]
        return cls(kind, server_key.key_of(kind, os.environ, path), dict(os.environ), path)


@dataclass(frozen=True)
class Program:
    """What the forked process runs: `python -m module`, with these arguments, in this environment and folder.

    `arguments` follow the program's name. `descriptors` maps numbers in the new process to descriptors of this one; the
    new process has no others. `command` is what `sys.orig_argv` shows.
    """

    module: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    folder: str
    descriptors: Mapping[int, int]
    command: Sequence[str] = ()
    blocked_signals: Sequence[int] = ()
    unbuffered: bool = True


class ForkedProcess:
    """A process that a server has forked for this one. The kernel kills it and its group when this process ends."""

    def __init__(self, connection: socket.socket, life: int, process: int, handle: int) -> None:
        self.pid = process
        self.handle = handle  # a pidfd: it becomes readable when the process ends
        self._connection, self._life = connection, life
        self._code: int | None = None

    def send_signal(self, number: int) -> None:
        """Send the signal to the process and its group, unless the process has ended."""
        if self._code is None and not _is_readable(self.handle):
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def wait(self) -> int:
        """Returns the exit code of the process, or minus the number of the signal that ended it."""
        announced = -signal.SIGKILL  # if the server has died too, nobody knows how the process ended
        while self._code is None:
            waiting = select.poll()
            waiting.register(self._connection, select.POLLIN)
            waiting.register(self.handle, select.POLLIN)
            waiting.poll()
            try:
                words, _ = messages.receive(self._connection, STATUS_SECONDS)
            except NoMessage:  # the server has died, or does not answer
                waiting.unregister(self._connection)
                waiting.poll()
                self._code = announced
                break
            if words[0] == "exiting":
                announced = int(words[1])
            elif words[0] == "ended":
                self._code = int(words[1])
        self.close()
        return self._code

    def close(self) -> None:
        """Give the process up. If it still runs, the kernel kills it and its group now."""
        for descriptor in (self._life, self.handle):
            with suppress(OSError):
                os.close(descriptor)
        self._life = self.handle = -1
        self._connection.close()


own_server: Server | None = None  # which this process was forked from, or which it has asked in vain


def may_start() -> bool:
    """Whether a client starts a server that is missing: in a job of Ray, or if ASSAY_FORK_SERVER is `on`."""
    return os.environ.get(VARIABLE, "") == "on" or JOB_VARIABLE in os.environ


def is_off() -> bool:
    return os.environ.get(VARIABLE, "") == "off"


def fork(server: Server, program: Program) -> ForkedProcess | None:
    """Returns a new process that runs the program, or None if no server is ready to fork it.

    A missing server is started for the next time, if `may_start`.
    """
    try:
        folder = open_folder()
    except OSError:
        return None
    try:
        process = _ask(folder, server, program)
        if process is None and may_start():
            start_server(folder, server.kind, server.key, dict(server.environment), list(server.path))
        return process
    except (OSError, ValueError, LookupError):  # also an answer that no fork server gives
        return None
    finally:
        os.close(folder)


def _ask(folder: int, server: Server, program: Program) -> ForkedProcess | None:
    """None if there is no server, or if it ends because its modules are stale. Raises OSError for any other reason."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    life, far_end_of_life = os.pipe2(os.O_CLOEXEC)[::-1]
    request = os.memfd_create("assay-request", os.MFD_CLOEXEC)
    try:
        connection.setblocking(False)
        try:
            connection.connect(socket_address(folder, server.key))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        server_process, user = messages.peer_of(connection)
        if user != os.getuid():
            raise PermissionError("another user's process took the place of the fork server")
        _write(request, _describe(server, program))
        messages.send(connection, "fork", [request, far_end_of_life, *program.descriptors.values()])
        try:
            words, handles = messages.receive(connection, ANSWER_SECONDS)
        except NoMessage:
            _kill_stuck(connection, server_process)
            return None
        if words[0] != "ready":
            return None
        process = ForkedProcess(connection, life, int(words[1]), handles[0])
        messages.send(connection, "go")
        life, connection = -1, socket.socket()  # these are the process's now
        return process
    finally:
        connection.close()
        for descriptor in (request, far_end_of_life, life):
            if descriptor >= 0:
                os.close(descriptor)


def _describe(server: Server, program: Program) -> dict[str, object]:
    """What the forked process has to become, as JSON. The server itself does not read it: it holds secrets."""
    status = server_key.read_status()
    ignored = int(status["SigIgn"], 16)
    return {
        "module": program.module,
        "arguments": list(program.arguments),
        "command": list(program.command),
        "environment": dict(program.environment),
        "folder": program.folder,
        "numbers": list(program.descriptors),
        "unbuffered": program.unbuffered,
        "blocked": [int(number) for number in program.blocked_signals],
        "ignored": [number for number in range(1, 65) if ignored >> (number - 1) & 1],
        "umask": int(status["Umask"], 8),
        "cores": sorted(os.sched_getaffinity(0)),
        "limits": server_key.soft_limits(),
        "search_path": list(sys.path),
        "server": {"kind": server.kind, "key": server.key, "path": list(server.path)},
    }


def _write(file: int, content: dict[str, object]) -> None:
    data = memoryview(json.dumps(content).encode())
    while data:
        data = data[os.write(file, data) :]


def _kill_stuck(connection: socket.socket, process: int) -> None:
    """Kill the server that does not answer, so that the next job gets another one. Its processes live on."""
    with suppress(OSError):
        handle = os.pidfd_open(process)
        try:
            if not _is_readable(connection.fileno()):  # else it has ended, and its id may be another process's
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                _is_readable(handle, KILL_SECONDS)  # it has ended then, and its lock is free
        finally:
            os.close(handle)


def _is_readable(descriptor: int, seconds: float = 0.0) -> bool:
    """Whether the descriptor is readable, or becomes so in time."""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(seconds * 1000))
