"""Whom a driver evicts while it waits for an engine. Ray's answers are stood in for."""

from types import SimpleNamespace
from typing import Any

import pytest

from ray_jobs.contract.spec import Checkpoint
from ray_jobs.engine import gpus
from ray_jobs.engine.client import session

CHECKPOINT = Checkpoint(uri="/models/step-1", name="step-1", fingerprint="0123456789abcdef")


@pytest.mark.parametrize(("is_placed", "evictions"), [(True, []), (False, ["engine-x"])], ids=["early", "pending"])
def test_idle_engines_are_evicted_only_while_the_engine_has_no_gpu(
    monkeypatch: pytest.MonkeyPatch, is_placed: bool, evictions: list[str]
) -> None:
    """The free GPUs are too few for one more engine in both cases. One that was started early needs no more."""
    waits: Any = iter([([], ["request"]), (["request"], [])])
    evicted: list[str] = []
    monkeypatch.setattr("ray.wait", lambda *_, **__: next(waits))
    monkeypatch.setattr("ray.get", lambda _: True)
    monkeypatch.setattr(gpus, "is_placed", lambda _: is_placed)
    monkeypatch.setattr(gpus, "is_started", lambda _: False)
    monkeypatch.setattr(session, "evict_idle", evicted.append)
    actor = SimpleNamespace(acquire=SimpleNamespace(remote=lambda *_: "request"))
    session._wait_for_lease(actor, "token", CHECKPOINT, "engine-x", None, None)
    assert evicted == evictions
