"""Notes what a program reads from the store, for tests that say what it need not read."""

from collections.abc import Callable
from typing import Any

import pytest

from ray_jobs.storage import objects


def note_reads(monkeypatch: pytest.MonkeyPatch, *functions: str) -> list[tuple[str, int]]:
    """A list that grows by the URI and the bytes of each read by these functions of `objects`.

    A read that fails is noted with 0 bytes.
    """
    reads: list[tuple[str, int]] = []

    def note(read: Callable[..., bytes]) -> Callable[..., bytes]:
        def read_and_note(uri: str, *arguments: Any, **options: Any) -> bytes:
            data = b""
            try:
                data = read(uri, *arguments, **options)
            finally:
                reads.append((uri, len(data)))
            return data

        return read_and_note

    for function in functions:
        monkeypatch.setattr(objects, function, note(getattr(objects, function)))
    return reads
