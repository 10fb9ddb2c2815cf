"""How often a job restarts an engine that dies, and what the error blames.

Ray and the engines are stood in for: an engine that cannot start is not to be had here at will.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from no_replicas import NoReplicas
from ray.exceptions import RayActorError, RayTaskError

from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.engine.client import warm
from ray_jobs.engine.client.session import LeasedEngine
from ray_jobs.engine.errors import MAX_RESTARTS
from ray_jobs.engine.protocol import EngineJob
from ray_jobs.engine.server.actor import EngineDead
from ray_jobs.engine.server.weight_swap import WeightsUnverified
from ray_jobs.inputs.errors import RetryableError

CHECKPOINT = Checkpoint(uri="/models/step-1", name="step-1", fingerprint="0123456789abcdef")
REPORT = {"warm": False, "reason": "started for this checkpoint", "seconds": 1.0, "choice": ""}


@dataclass
class Engines:
    """The engines that were started and the rows they got. Each dies of `error`, at its start or at a request."""

    error: Exception
    serve: bool = False
    started: list[str] = field(default_factory=list)
    tasks: list[Any] = field(default_factory=list)

    @contextmanager
    def lease_engine(self, name: str, *_: Any, **__: Any) -> Iterator[LeasedEngine]:
        self.started.append(name)
        yield LeasedEngine(name, "token")

    def get(self, reference: object) -> Any:
        if self.serve and reference == "report":
            return REPORT
        raise self.error

    def take_place(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(warm, "ReplicaPool", NoReplicas)
        monkeypatch.setattr(warm, "engine_session", self.lease_engine)

        def answer(_: Any, task: Any) -> object:
            self.tasks.append(task)
            return object()

        monkeypatch.setattr(warm, "load_checkpoint", lambda *_: ("report", answer))
        monkeypatch.setattr(warm, "engine_key", lambda *_: "one")
        ray = {
            "get": self.get,
            "put": lambda replica: replica,
            "cluster_resources": dict,
            "wait": lambda all, **_: (all[:1], []),
        }
        for name, stand_in in ray.items():
            monkeypatch.setattr(f"ray_jobs.engine.client.warm.ray.{name}", stand_in)


@pytest.mark.parametrize(
    "error",
    [
        RayTaskError("serve", "", EngineDead("it died at the canary")),
        RayTaskError("serve", "", WeightsUnverified("not all values are held")),
        RayActorError(),
    ],
)
@pytest.mark.parametrize("rows", [1, 256])
def test_no_row_is_to_blame_for_engines_that_die_of_their_weights(
    monkeypatch: pytest.MonkeyPatch, error: Exception, rows: int
) -> None:
    engines = Engines(error)
    engines.take_place(monkeypatch)
    tasks = [{"part": f"part-{number:05d}", "rows": list(range(rows))} for number in range(20)]
    with pytest.raises(RetryableError, match="checkpoint /models/step-1: the engine died 4 times"):
        list(warm.stream_answers(EngineJob(CHECKPOINT, Engine(), tasks, lambda *_: iter(()))))
    assert len(engines.started) == MAX_RESTARTS + 1
    assert engines.tasks  # the first was asked, to render meanwhile; the others were not
    assert len({task["part"] for task in engines.tasks}) == len(engines.tasks)


def test_when_the_last_row_is_set_aside_no_engine_is_started_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    engines = Engines(RayActorError(), serve=True)
    engines.take_place(monkeypatch)
    tasks = [{"part": "part-00000", "rows": [0]}]
    blocks = warm.stream_answers(EngineJob(CHECKPOINT, Engine(), tasks, lambda *_: iter(())))
    (answer,) = [answer for block in blocks for answer in block.answers]
    assert (answer["key"], answer["failure"]) == ("part-00000/0", "engine-died")
    assert len(engines.started) == 3  # it is suspected after the second, and alone with the third
