"""Run work in a confined process. Work that hangs, crashes or takes too much memory ends only that process.

Ray workers of `preprocess`, the driver (`source_process`) and `ray_jobs.suite_check` start such a process.
"""

import ctypes
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import pyarrow as pa
from pebble import ProcessExpired, ProcessPool

from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.images.prepare import GoldenImage, Reject
from ray_jobs.inputs.errors import RetryableError
from ray_jobs.runtime.confinement import exit_with_parent, limit_memory
from ray_jobs.sources.source import SourceImage

T = TypeVar("T")
Outcome = GoldenImage | Reject

START_SECONDS = 120
# Each image and each part needs as much memory as the last one. To return memory to the kernel, which clears it, costs
# 4% of all CPU time at 500x375. M_MMAP_THRESHOLD (-3) and M_TRIM_THRESHOLD (-1) of glibc's mallopt, in bytes.
MALLOC_OPTIONS = {-3: 64 << 20, -1: 128 << 20}
CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE)


class ProcessDied(Exception):
    """The process died of `signal`, which is None when the process ended by itself."""

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code
        self.signal = signal.Signals(-exit_code) if exit_code < 0 else None
        super().__init__(f"its process died of {self.signal.name if self.signal else f'exit code {exit_code}'}")


class ConfinedProcess:
    """One process with its own limits. A process that dies is replaced."""

    def __init__(self, megabytes: int) -> None:
        self.megabytes = megabytes
        self._pool = self._start_pool()

    def run(self, work: Callable[..., T], *arguments: Any, seconds: float | None = None) -> T:
        """The result of `work` in the process. The process is ended after `seconds`.

        Raises the errors of `work`, ProcessDied when the process dies, and ProcessDied of SIGALRM after `seconds`.
        """
        if not self._pool.active:  # a process that dies without work ends the pool
            self._pool = self._start_pool()
        try:
            result: T = self._pool.schedule(work, args=arguments, timeout=seconds).result()
        except ProcessExpired as error:
            raise ProcessDied(int(error.exitcode or 0)) from None
        except BrokenProcessPool:
            raise ProcessDied(0) from None
        except TimeoutError:
            if seconds is None:
                raise
            raise ProcessDied(-signal.SIGALRM) from None
        return result

    def close(self) -> None:
        self._pool.stop()
        self._pool.join()

    def _start_pool(self) -> ProcessPool:
        pool = ProcessPool(1, context=_forkserver_context(), initializer=_confine_process, initargs=[self.megabytes])
        try:  # else every image would seem to crash on a machine where the process cannot start
            pool.schedule(int, timeout=START_SECONDS).result()
        except (ProcessExpired, BrokenProcessPool, TimeoutError) as error:
            pool.stop()
            raise RetryableError(f"the decoder's process does not start: {error}") from error
        return pool


class Decoder(ConfinedProcess):
    """The process that decodes images, with the limits of `settings`."""

    def __init__(self, settings: Preprocess) -> None:
        self.settings = settings
        super().__init__(settings.decode_mb)

    def prepare_with_retry(self, prepare: Callable[..., Outcome], row: SourceImage) -> Outcome:
        """The outcome of `prepare` for the row. A row on which the process crashes twice becomes a reject.

        The row is tried twice, because the image may not have caused the first crash. An image that takes too long is
        tried once, because a second try would take as long. Raises RetryableError when the process is killed at the
        second try, because no image does that.
        """
        try:
            return self._prepare_once(prepare, row)
        except ProcessDied as error:
            if error.signal == signal.SIGALRM:  # a second try would take as long
                return Reject("timeout", f"not decoded within {self.settings.decode_seconds:g} s")
        try:
            return self._prepare_once(prepare, row)
        except ProcessDied as error:
            if error.signal in CRASHES or error.exit_code > 0:
                return Reject("crashed-decoder", str(error))
            raise RetryableError(
                f"the decoder of {row.image_id} was killed twice: {error}; is there memory enough?"
            ) from None

    def _prepare_once(self, prepare: Callable[..., Outcome], row: SourceImage) -> Outcome:
        try:
            return self.run(prepare, row, self.settings)
        except MemoryError:
            return Reject("too-large", f"takes more than {self.settings.decode_mb} MB to decode")


@cache
def get_decoder(settings: Preprocess) -> Decoder:
    """The decoder of this Ray worker. The worker makes many parts one after the other with the same decoder."""
    return Decoder(settings)


@contextmanager
def end_process_after(seconds: float, timer: int = signal.ITIMER_REAL) -> Iterator[None]:
    """End this process when the block takes longer than `seconds`, because nothing less stops a codec.

    With the timer ITIMER_PROF, only the seconds of computing count.
    """
    signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        signal.setitimer(timer, 0)


def _forkserver_context() -> Any:
    """A context that forks processes from a small server, never from a Ray worker with its threads."""
    main = sys.modules["__main__"]
    if "default_worker" in str(getattr(main, "__file__", "")):
        del main.__file__  # else each process would import its parent's main module, which is Ray's worker
        main.__spec__ = None
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ray_jobs.golden.part_tasks"])
    return context


def _confine_process(megabytes: int) -> None:
    exit_with_parent()
    libc = ctypes.CDLL(None)
    for option, size in MALLOC_OPTIONS.items():
        libc.mallopt(option, size)
    pa.set_memory_pool(pa.system_memory_pool())
    limit_memory(megabytes * 1024 * 1024)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the default ends the process even inside a codec
