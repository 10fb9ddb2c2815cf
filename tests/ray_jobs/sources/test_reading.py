import threading
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice

import pytest

from ray_jobs.contract import BadInput, Dataset, Trouble
from ray_jobs.sources import reading
from ray_jobs.sources.reading import ahead, beside, distance_of, in_turn, reads_at_once


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

    results = []
    for result in ahead(fetch, items(), 5):
        assert taken <= len(results) + 6  # never further ahead than it may read
        results.append(result)
    assert results == list(range(40))
    assert 1 < most <= 5


def test_an_error_comes_in_its_turn_and_the_rest_is_not_read() -> None:
    def fetch(number: int) -> int:
        if number == 3:
            raise Trouble("connection lost")
        return number

    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    with pytest.raises(Trouble, match="connection lost"):
        list(ahead(fetch, items(), 2))
    assert len(taken) < 7
    found = ahead(fetch, range(3), 2)
    assert next(found) == 0
    found.close()  # type: ignore[attr-defined] # who stops asking is not kept waiting


def test_streams_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BATCH", 3)
    monkeypatch.setattr(reading, "WAITING", 2)
    for width in (1, 3):
        streams = [partial(lambda start: iter(range(start, start + 50)), start) for start in range(0, 500, 50)]
        assert list(in_turn(streams, width)) == list(range(500))

    def failing() -> Iterator[int]:
        yield 1
        raise BadInput("cut off")

    found = in_turn([lambda: iter(range(30)), failing, lambda: iter(range(3))], 3)
    assert list(islice(found, 30)) == list(range(30))
    with pytest.raises(BadInput, match="cut off"):
        next(found)


def test_how_many_are_read_at_once() -> None:
    dataset = Dataset(source="x")
    assert [reads_at_once(dataset, far) for far in ("local", "object-store", "web")] == [1, 16, 32]
    assert reads_at_once(Dataset(source="x", reads=7), "web") == 7


def test_places() -> None:
    assert [distance_of(place) for place in ("http://h/x", "HTTPS://h/x", "s3://b/x", "/x", "file:///x")] == [
        "web", "web", "object-store", "local", "local",
    ]  # fmt: skip
    assert beside("/data", "a/b.png") == "/data/a/b.png"
    assert beside("/data/set", "../b.png") == "/data/b.png"
    assert beside("s3://b/data", "./../b.png") == "s3://b/b.png"
    assert beside("s3://b/data", "a..png") == "s3://b/data/a..png"
    for name in ("/abs/x.png", "s3://o/x", "http://h/../x"):
        assert beside("s3://b/data", name) == name
