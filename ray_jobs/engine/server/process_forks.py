"""Forks vLLM's own processes, with vLLM imported, from a small process beside the actor. `forked_worker` calls it.

vLLM starts its engine's process, and one process per GPU of a model that is spread, with Python's `spawn`: each imports
vLLM again. The actor itself cannot fork, because Ray has threads. So a process without threads (the fork source) is
forked before Ray starts, and forks later for all of them, by the standard library's protocol (`forkserver`).

What a new process gets is that of `spawn`: the environment, the output and the arguments that its starter has then. The
kernel ends the fork source with the actor, and all others with the fork source.
"""

import importlib
import multiprocessing.forkserver
import os
import re
import socket
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.reduction import DupFd, ForkingPickler
from typing import Any

import cloudpickle

from ray_jobs.fork_server.socket_folder import open_folder
from ray_jobs.runtime.confinement import exit_with_parent

OUTPUTS = (1, 2)
SOCKET = re.compile(r"vllm-(\d+)\.sock")  # named by the actor's process id
# vLLM's modules that start processes
USERS: tuple[str, ...] = ("vllm.v1.engine.utils", "vllm.v1.executor.multiproc_executor")


class VllmProcess(ForkServerProcess):
    """A process of vLLM. It takes the environment and the output of the process that starts it."""

    def __reduce__(self) -> tuple[Any, ...]:
        state = bytes(ForkingPickler.dumps(self.__dict__))
        return _rebuild, (dict(os.environ), [DupFd(number) for number in OUTPUTS], state)


class VllmContext(ForkServerContext):
    """Starts processes as `VllmProcess`."""

    Process = VllmProcess


def _rebuild(environment: dict[str, str], outputs: list[Any], state: bytes) -> VllmProcess:
    """The process object, in the new process. The environment comes first: loading the arguments may read it."""
    os.environ.clear()
    os.environ.update(environment)
    for number, output in zip(OUTPUTS, outputs, strict=True):
        given = output.detach()
        os.dup2(given, number)
        os.close(given)
    process = VllmProcess.__new__(VllmProcess)
    process.__dict__.update(ForkingPickler.loads(state))
    return process


def start_fork_source() -> None:
    """Fork the fork source, and have vLLM use it. Call it while this process has one thread, with vLLM imported.

    Raises OSError if there is no private folder for its socket. vLLM then starts processes as usual.
    """
    listener = _listen()
    for name in USERS:
        module: Any = importlib.import_module(name)
        module.get_mp_context = _get_context
    server: Any = multiprocessing.forkserver._forkserver
    # Else a process that is forked starts another server, without vLLM, because the fork source is not its child.
    server.ensure_running = resource_tracker.ensure_running
    ended_when_closed, alive = os.pipe()
    if os.fork() == 0:
        _serve(listener.detach(), ended_when_closed, alive)
    server._forkserver_address = listener.getsockname()
    server._forkserver_alive_fd = alive
    listener.close()
    os.close(ended_when_closed)


def run_in_fork(function: Callable[[], Any]) -> Any:
    """Returns what the function returns in a forked process. vLLM looks at a model's class there, as CUDA may start.

    Raises RuntimeError with the traceback, as vLLM's own way does, which starts Python and imports vLLM again.
    """
    receiving, sending = _get_context().Pipe(duplex=False)
    process = VllmProcess(target=_send_result, args=(sending, cloudpickle.dumps(function)), daemon=True)
    process.start()
    sending.close()
    try:
        result, error = receiving.recv()
    except EOFError:
        process.join()
        result, error = None, f"the process ended with exit code {process.exitcode}"
    if error:
        raise RuntimeError(f"Error raised in subprocess:\n{error}")
    return result


def _send_result(sending: Connection, function: bytes) -> None:
    answer: tuple[Any, str | None]
    try:
        answer = cloudpickle.loads(function)(), None
    except Exception:
        answer = None, traceback.format_exc()
    sending.send(answer)


def _listen() -> socket.socket:
    """A listening socket in this user's private folder, because who connects to it may run code in this process's name.

    Removes the sockets of actors that were killed.
    """
    folder = open_folder()
    try:
        for name in os.listdir(folder):
            match = SOCKET.fullmatch(name)
            if match and (int(match[1]) == os.getpid() or not os.path.exists(f"/proc/{match[1]}")):
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{os.readlink(f'/proc/self/fd/{folder}')}/vllm-{os.getpid()}.sock")
        listener.listen()
        return listener
    finally:
        os.close(folder)


def _serve(listener: int, ended_when_closed: int, alive: int) -> None:
    """Be the fork source. Does not return."""
    code = 1
    try:
        exit_with_parent()
        os.register_at_fork(after_in_child=exit_with_parent)
        os.close(alive)
        multiprocessing.forkserver.main(listener, ended_when_closed, [])
    except SystemExit:
        code = 0
    finally:
        os._exit(code)


def _get_context() -> VllmContext:
    """Replaces vLLM's own choice, which is `spawn` inside Ray. vLLM reads the variable elsewhere."""
    os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"
    return VllmContext()
