"""Limits the time of computing with a checkpoint's own files: chat template, tokenizer, processor.

The actor, its renderers, and the Ray tasks of the cold engine and the audit call it. The limit counts the processor
time of the computing thread, so a slow disk or a busy machine costs the checkpoint nothing. Nothing can stop the
thread, so a process that catches ComputeTimeout must end soon.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from ray_jobs.engine.watchdog import silence_limit
from ray_jobs.inputs.errors import InputError

Result = TypeVar("Result")
Outcome = tuple[Any, BaseException | None]

EXHAUSTED = object()
_this_thread = threading.local()


class ComputeTimeout(InputError):
    """A checkpoint's files compute without an end, or longer than the limit."""


class ComputeThread:
    """A thread that runs one function after the other for the thread that created it."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.work, self.outcomes = SimpleQueue[Callable[[], Any]](), SimpleQueue[Outcome]()
        # A daemon thread does not delay the end of the process.
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while True:
            compute = self.work.get()
            try:
                self.outcomes.put((compute(), None))
            except BaseException as error:
                self.outcomes.put((None, error))

    def seconds(self) -> float:
        """The processor time of the thread so far, in seconds."""
        assert self.thread.native_id
        return time.clock_gettime((~self.thread.native_id << 3) | 6)  # Linux: the clock of the thread with this id


def run_limited(compute: Callable[[], Result], uri: str) -> Result:
    """Return or raise the outcome of `compute`. Raises ComputeTimeout, which names the checkpoint, at the limit.

    The limit is half of `silence_limit`: 30 s of processor time by default. Raises InputError if a library panics.
    """
    # A forked process does not have the thread.
    if not hasattr(_this_thread, "helper") or _this_thread.helper.process != os.getpid():
        _this_thread.helper = ComputeThread()
    helper: ComputeThread = _this_thread.helper
    limit, began = silence_limit() / 2, helper.seconds()
    helper.work.put(compute)
    while True:
        try:
            result, error = helper.outcomes.get(timeout=1)
        except Empty:
            if helper.seconds() - began > limit:
                del _this_thread.helper  # it never becomes free
                raise ComputeTimeout(
                    f"checkpoint {uri}: its chat template, tokenizer or processor computed for {limit:g} s without an "
                    "end; mend these files"
                ) from None
            continue
        if error is not None and not isinstance(error, Exception):  # a tokenizer's library panics
            why = " ".join(str(error).split())[:200]
            raise InputError(f"checkpoint {uri}: its tokenizer or processor fails: {why}; mend these files")
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]


def limit_each(requests: Iterator[Result], uri: str) -> Iterator[Result]:
    """Yield the same requests. Each is built within the limit of `run_limited`."""
    while (request := run_limited(lambda: next(requests, EXHAUSTED), uri)) is not EXHAUSTED:
        yield request  # type: ignore[misc]
