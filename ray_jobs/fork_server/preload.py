"""Imports what the processes of a kind need, and leaves the fork server with one thread."""

import ctypes
import gc
import importlib
import os
import sys
from contextlib import suppress

# What the processes of each kind import. The server imports these by name, because it lies below them. A kind that is
# not here is the name of one module.
MODULES: dict[str, tuple[str, ...]] = {
    "bare": (),  # the tests' kind: it is there at once
    "driver": (
        "ray_jobs.preprocess",
        "ray_jobs.caption",
        "ray_jobs.evaluate",
        "ray_jobs.command_line.stages",
    ),
    "vllm": (
        "vllm.v1.engine.async_llm",
        "vllm.v1.engine.core",
        "vllm.v1.executor.multiproc_executor",
        "ray_jobs.checkpoints.node_cache",
        "ray_jobs.engine.compile_cache",
        "ray_jobs.engine.prompt",
        "ray_jobs.engine.server.process_forks",
        "ray_jobs.engine.vllm_plugin.compile_key",
        "ray_jobs.engine.vllm_plugin.worker",
    ),
}
# Not Ray Data: its import draws a random id, and Ray's generator then is in the same state in all forked processes.
# Drivers that run at the same time would draw the same ids.
# Packages that a kind must not import, although its modules try to. Ray reads a worker's job when it is imported.
KEPT_OUT = {"vllm": ("ray",)}
# Arrow's second allocator would start a thread when Arrow is loaded. The first one is used.
LOADER_VARIABLES = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}


class Unfit(Exception):
    """This process cannot fork others: it has more than one thread, or has started CUDA."""


def load(kind: str) -> dict[str, str]:
    """Import the modules of the kind. Returns the environment variables that they have set, as in any process.

    Raises Unfit, or what an import raises.
    """
    gc.disable()
    os.environ.update(LOADER_VARIABLES)
    before = dict(os.environ)
    kept_out = dict.fromkeys(KEPT_OUT.get(kind, ()))
    sys.modules.update(kept_out)  # type: ignore[arg-type]  # None has an import end with ModuleNotFoundError
    for name in MODULES.get(kind, (kind,)):
        importlib.import_module(name)
    for name in kept_out:
        del sys.modules[name]
    _find_title()
    _stop_openblas()
    gc.collect()
    gc.freeze()  # a collection in a forked process then touches, and so copies, no page of these objects
    require_one_thread()
    _require_no_cuda()
    return {name: value for name, value in os.environ.items() if before.get(name) != value}


def _find_title() -> None:
    """Have setproctitle find the memory of the process's title. It cannot once the environment was replaced."""
    with suppress(ImportError):
        importlib.import_module("setproctitle").getproctitle()


def _require_no_cuda() -> None:
    """Raises Unfit if this process has started CUDA, because a forked process cannot use it."""
    opened = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            opened.append(os.readlink(f"/proc/self/fd/{number}"))
    if "/dev/nvidia-uvm" in opened:
        raise Unfit("CUDA was started by an import")


def require_one_thread() -> None:
    """Raises Unfit if this process has more than one thread: a lock that another holds would stay held in a fork."""
    if len(names := list_threads()) != 1:
        raise Unfit(f"{len(names)} threads: {', '.join(names)}")


def list_threads() -> list[str]:
    """Returns the names of this process's threads, as the kernel knows them."""
    names = []
    for thread in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{thread}/comm", encoding="utf-8", errors="replace") as file:
            names.append(file.read().strip())
    return names


def _stop_openblas() -> None:
    """End the threads of each OpenBLAS that NumPy and SciPy have loaded. It starts them again when it computes."""
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
        libraries = {line.split(maxsplit=5)[5].strip() for line in file if "openblas" in line}
    for library in sorted(libraries):
        stop = getattr(ctypes.CDLL(library), "blas_thread_shutdown_", None)
        if stop is None:
            print(f"{library} cannot end its threads", file=sys.stderr)
        else:
            stop()
