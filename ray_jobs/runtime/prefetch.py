"""Reads ahead with threads, and returns the results in order. Readers of parts, images and tensors use it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def prefetch(
    read: Callable[[T], R],
    items: Iterable[T],
    ahead: int,
    threads: int | None = None,
    start_thread: Callable[[], Any] | None = None,
) -> Iterator[R]:
    """Yields `read(item)` of each item, in order. At most `ahead` reads are running or waiting for the caller.

    There are `threads` threads, or `ahead` when None. Each calls `start_thread` first. An item's exception is raised in
    its turn, and no further read is started then.
    """
    if ahead == 1:
        yield from map(read, items)
        return
    window: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(threads or ahead, "prefetch", start_thread)
    try:
        for item in items:
            if len(window) == ahead:
                yield window.popleft().result()
            window.append(pool.submit(read, item))
        while window:
            yield window.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
