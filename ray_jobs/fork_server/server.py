"""The fork server: imports the modules of its kind, then forks a process for each request.

`start.py` starts it, detached from the job that wanted it. It answers `stale` and ends when a loaded file has changed.
It ends when no process of it has run for some minutes, and with Ray's raylet. Its processes live on without it.
"""

import fcntl
import os
import select
import signal
import socket
import sys
import time
import traceback
from contextlib import suppress

from ray_jobs.fork_server import forked_process, loaded_files, messages, preload
from ray_jobs.fork_server.forked_process import ForkedProgram
from ray_jobs.fork_server.messages import NoMessage
from ray_jobs.fork_server.socket_folder import socket_address
from ray_jobs.fork_server.start import CLUSTER, FOLDER, LOCK, Options

LOAD_SECONDS = 300  # for the imports; then the kernel ends the server
REQUEST_SECONDS = 1.0  # from a connection until its request
BACKLOG = 128


class ForkServer:
    """The state of the server: its socket, its processes, and the clients that wait for their ends."""

    def __init__(
        self,
        options: Options,
        fingerprints: dict[str, loaded_files.Fingerprint | None],
        imported_environment: dict[str, str],
    ) -> None:
        self._options, self._fingerprints = options, fingerprints
        self._imported_environment = imported_environment
        self._clients: dict[int, tuple[int, socket.socket]] = {}  # by pidfd: a process, and who waits for its end
        self._waiting = select.poll()
        self._socket_name = f"{options.key}.sock"
        with suppress(FileNotFoundError):
            os.unlink(self._socket_name, dir_fd=FOLDER)  # of a server that was killed
        self._listener: socket.socket | None = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.setblocking(False)
        os.umask(0o077)
        self._listener.bind(socket_address(FOLDER, options.key))
        self._listener.listen(BACKLOG)
        self._waiting.register(self._listener, select.POLLIN)
        if options.has_cluster:
            self._waiting.register(CLUSTER, select.POLLIN)

    def serve(self) -> ForkedProgram | None:
        """Returns a program in each forked process, and None in the server itself when it has to end."""
        while self._listener or self._clients:
            ready = [
                number for number, _ in self._waiting.poll(None if self._clients else self._options.idle_seconds * 1000)
            ]
            if not ready or (self._options.has_cluster and CLUSTER in ready):
                self._stop_listening()
                if self._options.has_cluster and CLUSTER in ready:
                    return None
            for number in ready:
                if number in self._clients:
                    self._report_end(number)
            if self._listener and self._listener.fileno() in ready and (program := self._accept()):
                return program
        return None

    def _accept(self) -> ForkedProgram | None:
        """Fork a process for the next client. Returns its program in the forked process, None in the server."""
        assert self._listener
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return None
        connection.setblocking(False)
        descriptors: list[int] = []
        try:
            if messages.peer_of(connection)[1] != os.getuid():
                return None
            words, descriptors = messages.receive(connection, REQUEST_SECONDS)
            if words != ["fork"] or len(descriptors) < 2:
                return None
            if changed := loaded_files.find_changed(self._fingerprints):
                print(f"{changed} has changed", file=sys.stderr)
                self._stop_listening()  # first, so that the client can start the next server
                messages.send(connection, "stale")
                return None
            preload.require_one_thread()
            return self._fork(connection, descriptors)
        except preload.Unfit:
            traceback.print_exc()
            self._stop_listening()
        except (NoMessage, OSError):
            traceback.print_exc()
        finally:
            for descriptor in descriptors:
                with suppress(OSError):
                    os.close(descriptor)
        return None

    def _fork(self, connection: socket.socket, descriptors: list[int]) -> ForkedProgram | None:
        process = os.fork()
        if process:
            handle = os.pidfd_open(process)
            self._clients[handle] = (process, connection)
            self._waiting.register(handle, select.POLLIN)
            return None
        try:
            self._forget()
            given, descriptors[:] = descriptors[:], []  # they are the forked process's to close
            return forked_process.take_over(connection, given, self._imported_environment)
        except BaseException:
            traceback.print_exc()
            os._exit(1)  # the program has not begun: the client runs it

    def _report_end(self, handle: int) -> None:
        process, connection = self._clients.pop(handle)
        self._waiting.unregister(handle)
        os.close(handle)
        _, status = os.waitpid(process, 0)
        with suppress(OSError):
            messages.send(connection, f"ended {os.waitstatus_to_exitcode(status)}")
        connection.close()

    def _stop_listening(self) -> None:
        """Give up the socket and the lock, so that another server can start. The processes are still waited for."""
        if self._listener:
            self._waiting.unregister(self._listener)
            self._listener.close()
            self._listener = None
            for name in (self._socket_name, f"{self._options.key}.log", f"{self._options.key}.lock"):
                with suppress(OSError):
                    os.unlink(name, dir_fd=FOLDER)
            fcntl.flock(LOCK, fcntl.LOCK_UN)

    def _forget(self) -> None:
        """Close what the forked process must not have: the server's socket, lock and folder, and other clients."""
        assert self._listener
        self._listener.close()
        for handle, (_, other) in self._clients.items():
            os.close(handle)
            other.close()
        for number in self._options.descriptors():
            os.close(number)


def main() -> None:
    options = Options.from_arguments(sys.argv[2:])
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)  # the shell that started the server had it ignore some
    signal.signal(signal.SIGINT, signal.default_int_handler)
    program = _serve(options)
    if program:
        forked_process.run_program(program)


def _serve(options: Options) -> ForkedProgram | None:
    """Load the modules and serve. Returns as `ForkServer.serve` does."""
    began = time.time()
    signal.alarm(LOAD_SECONDS)
    for number in options.descriptors():
        os.set_inheritable(number, False)
    try:
        imported_environment = preload.load(options.kind)
    except Exception:
        os.close(os.open(f"{options.key}.failed", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600, dir_fd=FOLDER))
        raise
    os.environ.clear()
    os.chdir("/")
    fingerprints = loaded_files.fingerprint_loaded()
    if written := loaded_files.find_written(fingerprints, began):
        raise SystemExit(f"{written} was written while it was loaded")
    signal.alarm(0)
    return ForkServer(options, fingerprints, imported_environment).serve()
