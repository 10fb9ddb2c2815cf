"""F29: the clocks of machines differ and jump; no engine is kept, given up or lost because of that.

The actor is the real one without vLLM, as in test_actor.py; a clock is set apart from the driver's.
"""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from ray_jobs.engine import gpus
from ray_jobs.engine.client import eviction
from ray_jobs.engine.server.actor import WarmEngine
from ray_jobs.engine.server.lease import Lease, LeaseLost

APART = [-86400.0, -3600.0, -6.0, -1.0, 0.0, 1.0, 6.0, 3600.0, 86400.0]  # seconds by which a clock is ahead


def engine(lease: Lease) -> Any:
    actor = object.__new__(WarmEngine)
    actor.llm = SimpleNamespace(errored=False)
    actor.swapper, actor.lease = SimpleNamespace(resident="x"), lease  # type: ignore[assignment]
    actor.weights_ready = asyncio.Event()
    actor.loads, actor.watch_task, actor.running, actor.swap_lock = 1, None, set(), asyncio.Lock()
    actor.telemetry = SimpleNamespace(**dict.fromkeys(("sample_gpu", "reset"), lambda *_: None))  # type: ignore[assignment]
    actor.keep_seconds, actor.idle_since = 1e9, time.monotonic()
    actor._exit = lambda: None  # type: ignore[method-assign]
    return actor


def ahead(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the wall clock of the actor's machine ahead of the driver's."""
    true = time.time
    monkeypatch.setattr("ray_jobs.engine.server.actor.time.time", lambda: true() + seconds)


def is_evicted(actor: Any, seconds: float, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether an engine ends when a driver requests its GPU and its clock is ahead of the driver's."""

    def ask(*arguments: Any) -> Any:
        with monkeypatch.context() as patch:
            ahead(seconds, patch)

            async def ask_in_loop() -> bool:
                return bool(await actor.evict(*arguments))

            return asyncio.run(ask_in_loop())

    handle = SimpleNamespace(evict=SimpleNamespace(remote=ask), _actor_id=object())
    actors = [{"namespace": eviction.NAMESPACE, "name": "engine-x"}]
    monkeypatch.setenv("ASSAY_GPU", "1")
    monkeypatch.setattr("ray.cluster_resources", lambda: {"GPU": 1.0})
    monkeypatch.setattr("ray.util.list_named_actors", lambda **_: actors)
    monkeypatch.setattr("ray.get_actor", lambda *_: handle)
    monkeypatch.setattr("ray.get", lambda answer, timeout: answer)
    monkeypatch.setattr(gpus, "is_started", lambda _: True)
    eviction.evict_idle()
    return bool(actor.lease.holder == "the end")


@pytest.mark.parametrize("seconds", APART)
def test_an_idle_engine_gives_its_gpu_up(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_evicted(engine(Lease()), seconds, monkeypatch)


@pytest.mark.parametrize("seconds", APART)
def test_an_engine_in_use_is_not_ended(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = Lease()
    lease.take("job", time.monotonic())
    assert not is_evicted(engine(lease), seconds, monkeypatch)


@pytest.mark.parametrize("seconds", APART)
def test_a_lease_is_neither_lost_nor_prolonged_by_a_clock_that_jumps(
    seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        actor = engine(Lease(seconds=0.5))
        assert await actor.acquire("job", 0)
        ahead(seconds, monkeypatch)
        await actor.renew("job")  # silent for no time at all
        assert not await actor.acquire("other", 0)
        while not await actor.acquire("other", 0.05):  # silent for half a second
            pass
        with pytest.raises(LeaseLost):
            await actor.renew("job")

    async def within_ten_seconds() -> None:
        async with asyncio.timeout(10):
            await run()

    asyncio.run(within_ten_seconds())


@pytest.mark.parametrize("seconds", APART)
def test_an_idle_engine_ends_after_keep_seconds_of_its_own(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray_jobs.engine.server.actor.WATCH_INTERVAL_S", 0.01)

    async def run() -> None:
        actor = engine(Lease())
        actor.keep_seconds = 0.3
        actor.idle_since = time.monotonic()
        ahead(seconds, monkeypatch)
        began, watching = time.monotonic(), asyncio.create_task(actor._watch())
        async with asyncio.timeout(10):
            while actor.lease.holder != "the end":
                await asyncio.sleep(0.01)
        watching.cancel()
        assert time.monotonic() - began >= 0.3

    asyncio.run(run())
