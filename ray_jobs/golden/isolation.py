"""Decode in a process of its own: what hangs, eats memory or crashes there costs one image, not the worker.

Images go over in small batches. When the process dies or takes too long, each image of the batch is tried once more,
alone and in a fresh process, and only the one that does it again is rejected.
"""

import ctypes
import logging
import multiprocessing
import re
import resource
import signal
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from pathlib import Path
from typing import Any

from pebble import ProcessExpired, ProcessPool

from ray_jobs.contract import Preprocess, Trouble
from ray_jobs.images.prepare import Golden, Reject, prepare_all
from ray_jobs.sources import Row

log = logging.getLogger("assay")

BATCH_ROWS, BATCH_BYTES = 16, 4_000_000
START_SECONDS = 120
AHEAD = 2  # batches that wait for the process, so that it never waits for us

Prepared = Golden | Reject


class Decoder:
    """One process that turns rows of a source into golden images, and is replaced when it dies."""

    def __init__(self, settings: Preprocess, work: Any = prepare_all) -> None:
        self.settings, self._work = settings, work
        self._pool = self._started()

    def prepared(self, rows: Iterable[Row]) -> Iterator[tuple[Row, Prepared]]:
        """Each row with its golden image, or why there is none, in order. Raises Trouble when reading fails."""
        waiting: deque[tuple[list[Row], Future[list[Prepared]]]] = deque()
        for batch in batched(rows):
            waiting.append((batch, self._ask(batch)))
            if len(waiting) > AHEAD:
                yield from self._answered(*waiting.popleft())
        while waiting:
            yield from self._answered(*waiting.popleft())

    def close(self) -> None:
        self._pool.stop()
        self._pool.join()

    def _answered(self, batch: list[Row], asked: "Future[list[Prepared]]") -> Iterator[tuple[Row, Prepared]]:
        try:
            answers = iter(asked.result())
        except (ProcessExpired, BrokenProcessPool, TimeoutError):
            answers = iter([self._alone(row) for row in batch if _there(row)])
        for row in batch:
            yield row, next(answers) if _there(row) else Reject("unreadable-source", row.detail)

    def _alone(self, row: Row) -> Prepared:
        try:
            return self._ask([row]).result()[0]
        except TimeoutError:
            return Reject("timeout", f"not decoded within {self.settings.decode_seconds:g} s")
        except (ProcessExpired, BrokenProcessPool) as error:
            return Reject("crashed-decoder", _how(error))

    def _started(self) -> ProcessPool:
        pool = ProcessPool(1, context=_context(), initializer=_confined, initargs=[self.settings.decode_mb])
        try:  # else a machine on which it cannot start would look like a set of images that all crash
            pool.schedule(prepare_all, args=[[], self.settings], timeout=START_SECONDS).result()
        except (ProcessExpired, BrokenProcessPool, TimeoutError) as error:
            pool.stop()
            raise Trouble(f"the decoder's process does not start: {error}") from error
        return pool

    def _ask(self, rows: list[Row]) -> "Future[list[Prepared]]":
        if not self._pool.active:  # a process that dies between two batches takes the pool with it
            self._pool = self._started()
        files = [(row.image_id, row.file if row.data is None else row.data) for row in rows if _there(row)]
        asked: Future[list[Prepared]] = self._pool.schedule(
            self._work, args=[files, self.settings], timeout=self.settings.decode_seconds
        )
        return asked


@cache
def decoder(settings: Preprocess) -> Decoder:
    """The decoder of this Ray worker, which makes many parts one after the other."""
    return Decoder(settings)


def batched(rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row.data or b"")
        if len(batch) == BATCH_ROWS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _there(row: Row) -> bool:
    return row.data is not None or row.file is not None


def _how(error: ProcessExpired | BrokenProcessPool) -> str:
    code = int(getattr(error, "exitcode", None) or 0)
    name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"the decoder's process died of {name}"


def _context() -> Any:
    """Processes that are forked from a small server, never from a Ray worker and its threads."""
    main = sys.modules["__main__"]
    if "default_worker" in str(getattr(main, "__file__", "")):
        del main.__file__  # else each process would import its parent's main module, which is Ray
        main.__spec__ = None
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ray_jobs.images.prepare"])
    return context


def _confined(megabytes: int) -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: not to outlive whom it works for
    held = re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())
    limit = megabytes * 1024 * 1024 + (int(held[1]) * 1024 if held else 0)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
