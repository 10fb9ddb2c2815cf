"""Reading ahead by threads, in order: whatever reads parts, images or pieces of tensors one after the other uses it."""

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
    """`read` of each item, in order, with at most `ahead` of them under way or waiting to be taken.

    There are as many threads as that, or `threads`, and each calls `start_thread` first. An item's exception is raised
    in its turn, and nothing further is begun then.
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
