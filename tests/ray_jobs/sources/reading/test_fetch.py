from collections.abc import Iterator
from functools import partial
from itertools import islice

import pytest

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.inputs.errors import InputError
from ray_jobs.sources.reading import fetch
from ray_jobs.sources.reading.fetch import distance_of, read_streams_in_order, reads_at_once, resolve_path


def test_streams_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "BATCH", 3)
    monkeypatch.setattr(fetch, "WAITING", 2)
    for width in (1, 3):
        streams = [partial(lambda start: iter(range(start, start + 50)), start) for start in range(0, 500, 50)]
        assert list(read_streams_in_order(streams, width)) == list(range(500))

    def fail_after_some() -> Iterator[int]:
        yield 1
        raise InputError("cut off")

    values = read_streams_in_order([lambda: iter(range(30)), fail_after_some, lambda: iter(range(3))], 3)
    assert list(islice(values, 30)) == list(range(30))
    with pytest.raises(InputError, match="cut off"):
        next(values)


def test_how_many_are_read_at_once() -> None:
    dataset = Dataset(source="x")
    assert [reads_at_once(dataset, far) for far in ("local", "object-store", "web")] == [1, 16, 32]
    assert reads_at_once(Dataset(source="x", reads=7), "web") == 7


def test_places() -> None:
    assert [distance_of(place) for place in ("http://h/x", "HTTPS://h/x", "s3://b/x", "/x", "file:///x")] == [
        "web", "web", "object-store", "local", "local",
    ]  # fmt: skip
    assert resolve_path("/data", "a/b.png") == "/data/a/b.png"
    assert resolve_path("/data/set", "../b.png") == "/data/b.png"
    assert resolve_path("s3://b/data", "./../b.png") == "s3://b/b.png"
    assert resolve_path("s3://b/data", "a..png") == "s3://b/data/a..png"
    for name in ("/abs/x.png", "s3://o/x", "http://h/../x"):
        assert resolve_path("s3://b/data", name) == name
