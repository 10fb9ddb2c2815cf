"""Has a fork server run a Ray worker, so that the engine's actor finds vLLM imported. Ray starts it in place of Python.

    python -c "from ray_jobs.fork_server.ray_worker import main; main()" .../default_worker.py --node-ip-address=...

The actor's runtime environment names it as `py_executable`. This process waits as `entrypoint.py` does: for Ray it is
the process that Ray started, and the forked process is the worker that registers. The first worker of a node waits
until the server has imported vLLM, which takes as long as to import it itself. Whatever goes wrong, this process
becomes the worker that Ray wanted.
"""

import ctypes
import os
import shlex
import signal
import sys
import time
from contextlib import suppress
from functools import partial
from typing import Any

from ray_jobs.fork_server import client, entrypoint, server_key
from ray_jobs.fork_server.client import ForkedProcess, Program, Server
from ray_jobs.fork_server.socket_folder import open_folder
from ray_jobs.fork_server.start import has_failed_lately, start_server

KIND = "vllm"
SET_NAME = 15  # PR_SET_NAME of prctl
WORKER = "default_worker.py"
MODULE = "ray_jobs.engine.server.forked_worker"
WAIT_SECONDS = 40.0  # for the server's imports; Ray gives a worker up after 60
PAUSE_SECONDS = 0.1
MAX_REFUSALS = 10  # of a server whose socket is there
PER_WORKER_PREFIXES = ("RAY_", "CUDA_VISIBLE_DEVICES")  # variables that no import of the server reads

_BOOT = """import os, sys
try:
    from ray_jobs.fork_server.ray_worker import main
except ImportError:
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
main()
"""


def build_runtime_env(variables: dict[str, str]) -> dict[str, Any]:
    """Returns the runtime environment of a Ray actor or task that imports vLLM. It has these variables.

    Its worker is forked if ASSAY_FORK_SERVER is `on`.
    """
    is_forked = os.environ.get(client.VARIABLE) == "on"
    return {"env_vars": variables, **({"py_executable": _worker_command()} if is_forked else {})}


def _worker_command() -> str:
    """A piece of shell, which Ray puts before the worker's arguments.

    The node's own Python is used if it has none at this process's path.
    """
    script = f'p={shlex.quote(sys.executable)}; [ -x "$p" ] || p=python; exec "$p" -c {shlex.quote(_BOOT)} "$@"'
    return f"sh -c {shlex.quote(script)} sh"


def main() -> None:
    """Run the Ray worker whose arguments this process has. Does not return."""
    arguments = sys.argv[1:]
    if os.path.basename(arguments[0]) == WORKER and not client.is_off():
        with suppress(OSError):
            _run_forked(arguments)
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606  what Ray would have started


def _run_forked(arguments: list[str]) -> None:
    """Returns if no server can fork the worker. Else ends this process as the worker ended."""
    sys.path[0] = os.path.dirname(arguments[0])  # as Python sets it for the worker's program
    server = _server_for_workers()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, entrypoint.PASSED_ON)
    try:
        program = Program(
            module=MODULE,
            arguments=arguments[1:],
            environment=dict(os.environ),
            folder=os.getcwd(),
            descriptors={0: 0, 1: 1, 2: 2},
            command=[sys.executable, *arguments],
            blocked_signals=sorted(blocked),
        )
        process = _fork_when_ready(server, program)
        if process:
            _name_process(f"for {process.pid}")
            for number in entrypoint.PASSED_ON - blocked:
                signal.signal(number, partial(entrypoint.pass_on, process))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    if process:
        entrypoint.end_as(process.wait())


def _name_process(name: str) -> None:
    """Set the name that `ps` shows: whom this process waits for."""
    ctypes.CDLL(None).prctl(SET_NAME, name.encode(), 0, 0, 0)


def _server_for_workers() -> Server:
    """Returns the server for workers with this environment, whatever job and GPU they get."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PER_WORKER_PREFIXES)}
    environment.setdefault("OMP_NUM_THREADS", "1")  # as Ray sets it for an actor before it imports anything
    path = [os.path.abspath(entry) for entry in sys.path]
    return Server(KIND, server_key.key_of(KIND, environment, path), environment, path)


def _fork_when_ready(server: Server, program: Program) -> ForkedProcess | None:
    """Returns the forked process.

    None if the server cannot import its modules, or not within WAIT_SECONDS, or if it is there and does not fork.
    """
    end, folder, refusals = time.monotonic() + WAIT_SECONDS, open_folder(), 0
    try:
        while time.monotonic() < end and refusals < MAX_REFUSALS:
            if process := client.fork(server, program):
                return process
            if has_failed_lately(folder, server.key):
                return None
            refusals += os.access(f"{server.key}.sock", os.F_OK, dir_fd=folder)
            start_server(folder, server.kind, server.key, dict(server.environment), list(server.path))
            time.sleep(PAUSE_SECONDS)
    finally:
        os.close(folder)
    return None
