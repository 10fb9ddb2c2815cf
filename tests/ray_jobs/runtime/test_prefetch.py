import threading
import time
import weakref
from collections.abc import Iterator

import pytest

from ray_jobs.inputs.errors import RetryableError
from ray_jobs.runtime.prefetch import prefetch


def test_results_are_in_order_and_few_are_under_way() -> None:
    lock, now, most, taken = threading.Lock(), 0, 0, 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(40):
            taken += 1
            yield number

    def fetch(number: int) -> int:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02 if number % 7 == 0 else 0.001)
        with lock:
            now -= 1
        return number

    results: list[int] = []
    for result in prefetch(fetch, items(), 5):
        assert taken <= len(results) + 6  # never further ahead than it may read
        results.append(result)
    assert results == list(range(40))
    assert 1 < most <= 5


def test_an_error_comes_in_its_turn_and_the_rest_is_not_read() -> None:
    def fetch(number: int) -> int:
        if number == 3:
            raise RetryableError("connection lost")
        return number

    fetched: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            fetched.append(number)
            yield number

    with pytest.raises(RetryableError, match="connection lost"):
        list(prefetch(fetch, items(), 2))
    assert len(fetched) < 7
    values = prefetch(fetch, range(3), 2)
    assert next(values) == 0
    values.close()  # type: ignore[attr-defined] # who stops asking is not kept waiting


def test_at_most_the_parts_read_ahead_are_in_memory() -> None:
    """These and the current part, for any number of parts."""

    class Part:
        pass

    alive: weakref.WeakSet[Part] = weakref.WeakSet()

    def read_part(name: str) -> Part:
        part = Part()
        alive.add(part)
        return part

    most = 0
    for _ in prefetch(read_part, [str(number) for number in range(200)], 8):
        most = max(most, len(alive))
    assert most <= 8 + 2
