"""Tries checkpoints in forks of one process that has loaded the probe's libraries, instead of loading them each time.

Loading takes 3.5 s of a core, and the table of odd checkpoints has 31. A fork runs the same `probe_process.main` under
the same confinement: each fork has one thread, a session and limits of its own, and the variables that it is given.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

PROBE = "ray_jobs.engine.probe.probe_process"


class ForkedProbe:
    """As much of a `subprocess.Popen` as `checkpoint_probe` uses."""

    def __init__(self, server: socket.socket, variables: Mapping[str, str]) -> None:
        (to_read, to_write), (answers, to_answer) = os.pipe(), os.pipe()
        socket.send_fds(server, [json.dumps(dict(variables)).encode()], [to_read, to_answer])
        os.close(to_read)
        os.close(to_answer)
        self.stdin, self.stdout = os.fdopen(to_write, "wb"), os.fdopen(answers, "rb")
        self._server = server
        self._code: int | None = None
        self.pid = int(self._receive(None))

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, negative after a signal. Raises subprocess.TimeoutExpired."""
        if self._code is None:
            self._code = int(self._receive(timeout))
        return self._code

    def _receive(self, timeout: float | None) -> bytes:
        self._server.settimeout(timeout)
        try:
            return self._server.recv(100)
        except TimeoutError:
            raise subprocess.TimeoutExpired(PROBE, timeout or 0) from None


class ForkServer:
    """Its `start` replaces `subprocess.Popen` for one probe after another."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server

    def start(self, command: Sequence[str], *, env: Mapping[str, str], **_: Any) -> ForkedProbe:
        assert command[-2:] == ["-m", PROBE], "only the probe is started here"
        return ForkedProbe(self._server, env)


@contextmanager
def fork_server() -> Iterator[ForkServer]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    single = {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    with ours, theirs:
        variables = os.environ | single | {"PYTHONPATH": os.pathsep.join(sys.path), "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, "-P", __file__, str(theirs.fileno())]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=variables, stdin=subprocess.DEVNULL)
        theirs.close()
        try:
            yield ForkServer(ours)
        finally:
            ours.close()  # ends its loop
            process.wait(60)


def serve(requests: socket.socket) -> None:
    """Fork a probe for each request, say its process id, and then its exit code."""
    from ray_jobs.engine.probe import probe_process

    probe_process.load_libraries()
    while True:
        message, files, _, _ = socket.recv_fds(requests, 65536, 2)
        if not message:
            return
        if not (pid := os.fork()):
            run(requests, json.loads(message), files)
        for file in files:
            os.close(file)
        requests.send(str(pid).encode())
        requests.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())


def run(requests: socket.socket, variables: dict[str, str], files: list[int]) -> None:
    """The forked process's whole life, as `checkpoint_probe` starts one. Does not return."""
    code = 1
    try:
        from ray_jobs.engine.probe import probe_process

        os.setsid()
        for target, file in enumerate([*files, os.open(os.devnull, os.O_WRONLY)]):
            os.dup2(file, target)
        requests.close()
        os.closerange(3, 256)
        os.chdir("/")
        os.environ.clear()
        os.environ.update(variables)
        probe_process.main()
        code = 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
