"""Run work in a confined process: work that hangs, crashes or takes too much memory ends that process alone."""

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

from ray_jobs.contract.suite import Preprocess
from ray_jobs.images.prepare import GoldenImage, Reject
from ray_jobs.inputs.errors import RetryableError
from ray_jobs.runtime.confinement import exit_with_parent, limit_memory
from ray_jobs.sources.source import SourceImage

T = TypeVar("T")
Outcome = GoldenImage | Reject

START_SECONDS = 120
# Each image and each part needs memory like the last one; to give it back and have the kernel clear it again costs 4%
# of all CPU time at 500x375. M_MMAP_THRESHOLD (-3) and M_TRIM_THRESHOLD (-1) of glibc's mallopt, in bytes.
MALLOC_OPTIONS = {-3: 64 << 20, -1: 128 << 20}
CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE)


class ProcessDied(Exception):
    """The process died of `signal`, None where it ended by itself."""

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code
        self.signal = signal.Signals(-exit_code) if exit_code < 0 else None
        super().__init__(f"its process died of {self.signal.name if self.signal else f'exit code {exit_code}'}")


class ConfinedProcess:
    """One process with limits of its own, which is replaced when it dies."""

    def __init__(self, megabytes: int) -> None:
        self.megabytes = megabytes
        self._pool = self._start_pool()

    def run(self, work: Callable[..., T], *arguments: Any, seconds: float | None = None) -> T:
        """What `work` returns in the process, which ends after `seconds`.

        Raises what `work` raises, Died when the process does, Died of SIGALRM after `seconds`.
        """
        if not self._pool.active:  # a process that dies without work takes the pool with it
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
        try:  # else a machine on which it cannot start would look like a set of images that all crash
            pool.schedule(int, timeout=START_SECONDS).result()
        except (ProcessExpired, BrokenProcessPool, TimeoutError) as error:
            pool.stop()
            raise RetryableError(f"the decoder's process does not start: {error}") from error
        return pool


class Decoder(ConfinedProcess):
    """The process that decodes."""

    def __init__(self, settings: Preprocess) -> None:
        self.settings = settings
        super().__init__(settings.decode_mb)

    def prepare_isolated(self, prepare: Callable[..., Outcome], row: SourceImage) -> Outcome:
        """What `prepare` makes of the row, a reject when the process dies of it twice: once may not be its doing.

        An image that takes too long is tried once: it would take as long again.

        Raises RetryableError when the process is killed twice, because no image does that.
        """
        try:
            return self._prepare_once(prepare, row)
        except ProcessDied as error:
            if error.signal == signal.SIGALRM:  # it would take as long again
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
    """The decoder of this Ray worker, which makes many parts one after the other."""
    return Decoder(settings)


@contextmanager
def end_process_after(seconds: float, timer: int = signal.ITIMER_REAL) -> Iterator[None]:
    """End the process when what is done here takes longer, or computes for longer where the timer is ITIMER_PROF;
    nothing less stops a codec."""
    signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        signal.setitimer(timer, 0)


def _forkserver_context() -> Any:
    """Processes that are forked from a small server, never from a Ray worker and its threads."""
    main = sys.modules["__main__"]
    if "default_worker" in str(getattr(main, "__file__", "")):
        del main.__file__  # else each process would import its parent's main module, which is Ray
        main.__spec__ = None
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ray_jobs.golden.build_part"])
    return context


def _confine_process(megabytes: int) -> None:
    exit_with_parent()
    libc = ctypes.CDLL(None)
    for option, size in MALLOC_OPTIONS.items():
        libc.mallopt(option, size)
    pa.set_memory_pool(pa.system_memory_pool())
    limit_memory(megabytes * 1024 * 1024)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends the process, whatever a codec is doing
