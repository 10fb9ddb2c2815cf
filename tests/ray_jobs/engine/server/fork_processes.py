"""Starts processes as vLLM does, after `start_fork_source`. A stand-in has the place of vLLM's modules.

    python fork_processes.py FILE

The child process prints to the output that its starter has at that time. A child of the child, as a model over several
GPUs has them, waits. FILE gets the ids of the starter, the fork source, and both children.
"""

import os
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType

import pytest

from ray_jobs.engine.server import process_forks

vllm = ModuleType("stand_in")


def wait(ids: Connection) -> None:
    ids.send([os.getpid(), os.getppid(), os.environ["OF_STARTER"]])
    time.sleep(600)


def be_engine(ids: Connection, file: str) -> None:
    print(f"engine of {os.environ['OF_STARTER']}", flush=True)
    os.environ["OF_STARTER"] = "the engine"
    receiving, sending = vllm.get_mp_context().Pipe()
    vllm.get_mp_context().Process(target=wait, args=(sending,), daemon=False).start()
    worker, source, starter = receiving.recv()
    assert starter == "the engine"
    ids.send([os.getppid(), os.getpid(), worker])
    assert source == os.getppid()
    time.sleep(600)


if __name__ == "__main__":
    sys.modules["stand_in"] = vllm
    process_forks.USERS = ("stand_in",)
    process_forks.start_fork_source()
    os.environ["OF_STARTER"] = "the actor"
    assert process_forks.run_in_fork(lambda: (os.getppid(), os.environ["OF_STARTER"]))[1] == "the actor"
    for raises, reason in ((lambda: 1 / 0, "ZeroDivisionError: division"), (lambda: os._exit(3), "exit code 3")):
        with pytest.raises(RuntimeError, match=reason):
            process_forks.run_in_fork(raises)
    reading, writing = os.pipe()
    before = os.dup(1)
    os.dup2(writing, 1)
    mine, theirs = vllm.get_mp_context().Pipe()
    engine = vllm.get_mp_context().Process(target=be_engine, args=(theirs, sys.argv[1]))
    engine.start()
    ids = mine.recv()
    os.dup2(before, 1)
    print("output of the engine:", os.read(reading, 1000).decode().strip(), flush=True)
    print("alive:", engine.is_alive(), engine.pid == ids[1], flush=True)
    Path(sys.argv[1]).write_text(" ".join(map(str, [os.getpid(), *ids])))
    time.sleep(600)
