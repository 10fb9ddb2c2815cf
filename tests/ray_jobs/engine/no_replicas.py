"""Stands for the pool of replicas in tests of a job with a single engine."""

from typing import Any


class NoReplicas:
    has_pending = False

    def __init__(self, *_: Any) -> None: ...

    def __enter__(self) -> "NoReplicas":
        return self

    def __exit__(self, *_: Any) -> None: ...

    def start(self) -> None: ...

    def take_ready(self) -> list[Any]:
        return []
