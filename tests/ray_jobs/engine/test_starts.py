"""Engines that die while they get their weights: the job ends after a few, and no row is suspected.

Ray and the engines are stood in for: an engine that cannot start is not to be had here at will.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from ray.exceptions import RayActorError, RayTaskError

from ray_jobs.contract import Checkpoint, Engine, Trouble
from ray_jobs.engine import warm
from ray_jobs.engine.asked import Served
from ray_jobs.engine.contents import Doubt
from ray_jobs.engine.explained import STARTS
from ray_jobs.engine.warm_actor import Dead


class Further:
    def __init__(self, *_: Any) -> None: ...

    def __enter__(self) -> "Further":
        return self

    def __exit__(self, *_: Any) -> None: ...

    def begin(self) -> None: ...

    def come(self) -> list[Any]:
        return []


@pytest.mark.parametrize(
    "error",
    [
        RayTaskError("serve", "", Dead("it died at the canary")),
        RayTaskError("serve", "", Doubt("not all values are held")),
        RayActorError(),
    ],
)
@pytest.mark.parametrize("rows", [1, 256])
def test_no_row_is_to_blame_for_engines_that_die_of_their_weights(
    monkeypatch: pytest.MonkeyPatch, error: Exception, rows: int
) -> None:
    started, asked = [], []

    @contextmanager
    def held(name: str, *_: Any) -> Iterator[tuple[str, str]]:
        started.append(name)
        yield name, "token"

    def get(reference: object) -> Any:
        raise error

    monkeypatch.setattr(warm, "Further", Further)
    monkeypatch.setattr(warm, "held", held)
    monkeypatch.setattr(warm, "serving", lambda *_: (object(), lambda _, task: asked.append(task) or object()))
    monkeypatch.setattr(warm, "identity", lambda *_: "one")
    for name, stand_in in {"get": get, "put": lambda one: one, "cluster_resources": dict}.items():
        monkeypatch.setattr(warm.ray, name, stand_in)
    tasks = [{"part": f"part-{number:05d}", "rows": list(range(rows))} for number in range(20)]
    checkpoint = Checkpoint(uri="/models/step-1", name="step-1", fingerprint="0123456789abcdef")
    with pytest.raises(Trouble, match="checkpoint /models/step-1: the engine died 4 times"):
        list(warm.ask(checkpoint, Engine(), tasks, lambda *_: iter(()), Served()))
    assert len(started) == STARTS + 1
    assert asked  # the first was asked, to render meanwhile; the others were not
    assert len({task["part"] for task in asked}) == len(asked)
