"""Many jobs take the lease of one engine, caption, fall silent, and leave, at random: each gets answers of its own
weights.

It is about the order of things alone: vLLM, its weights and the renderers are stood in for; lease, actor and answerer
are the real ones.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from ray_jobs.engine.server import actor as warm_actor
from ray_jobs.engine.server.actor import WarmEngine
from ray_jobs.engine.server.lease import Lease, LeaseLost
from ray_jobs.engine.server.scheduler import RequestScheduler


class Engine:
    """Answers with the name of the weights that are loaded when the request arrives, some time later."""

    errored, weights = False, "none"

    async def generate(self, *_: Any) -> AsyncIterator[Any]:
        output = SimpleNamespace(token_ids=[1], text=self.weights, finish_reason="stop")
        await asyncio.sleep(random.random() * 0.2)
        yield SimpleNamespace(outputs=[output], prompt_token_ids=[1, 2], metrics=None)


class Contents:
    """Takes some time to swap the weights. No job may get an answer meanwhile."""

    def __init__(self, llm: Engine) -> None:
        self.resident: str | None = None
        self.llm, self.seconds = llm, 0.1

    async def load(self, checkpoint: Any, still_held: Callable[[], None]) -> tuple[str, bool]:
        await asyncio.sleep(self.seconds / 2)
        still_held()
        self.resident, self.llm.weights = None, "mixed"
        await asyncio.sleep(self.seconds / 2)
        self.resident = self.llm.weights = checkpoint.fingerprint
        return "swapped", True


class Rendering:
    async def render_task(self, requests: Any, task: dict[str, Any]) -> AsyncGenerator[list[Any]]:
        for row in task["rows"]:
            await asyncio.sleep(0.001)
            yield [{
                "key": f"{task['part']}/{row}", "inputs": row, "sampling_params": {}, "least_tokens": 1, "render": 0.0,
                "failure": None, "detail": None,
            }]  # fmt: skip


def actor(lease: Lease) -> Any:
    """A WarmEngine without vLLM."""
    engine = object.__new__(WarmEngine)
    engine.llm = Engine()
    engine.scheduler = RequestScheduler(engine.llm, Rendering(), sequences=8, rendered_at_once=2)  # type: ignore[arg-type]
    engine.swapper, engine.lease, engine.weights_ready = Contents(engine.llm), lease, asyncio.Event()  # type: ignore[assignment]
    engine.loads, engine.watch_task, engine.running, engine.swap_lock = 1, None, set(), asyncio.Lock()
    engine.telemetry = SimpleNamespace(
        **dict.fromkeys(("sample_gpu", "reset", "count_answer", "observe_swap"), lambda *_: None)
    )  # type: ignore[assignment]
    engine.keep_seconds, engine.idle_since = 1e9, time.monotonic()
    return engine


async def job(engine: Any, token: str, fingerprint: str, alive: bool) -> Counter[str]:
    """What became of the rows of a job. A job that is not `alive` does not renew its lease."""
    while not await engine.acquire(token, 0.2):
        pass

    async def renew() -> None:
        while alive:
            await asyncio.sleep(0.05)
            with suppress(LeaseLost):
                await engine.renew(token)

    renewing = asyncio.create_task(renew())
    serving = asyncio.create_task(engine.load_checkpoint(token, SimpleNamespace(fingerprint=fingerprint)))
    tasks = [{"part": f"{token}-{number}", "rows": list(range(6))} for number in range(6)]
    answers = [asyncio.create_task(engine.answer_task(token, fingerprint, None, task)) for task in tasks]
    _, *results = await asyncio.gather(serving, *answers, return_exceptions=True)
    renewing.cancel()
    await engine.release(token)
    for result in results:
        if isinstance(result, BaseException):
            assert isinstance(result, LeaseLost), result
        else:
            assert {answer["text"] for answer in result} == {fingerprint}
    return Counter("lost" if isinstance(result, LeaseLost) else "answered" for result in results)


@pytest.mark.slow
def test_every_answer_is_by_the_requested_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_actor, "WATCH_INTERVAL_S", 0.05)
    random.seed(1)

    async def run() -> None:
        engine = actor(Lease(seconds=0.3))

        async def run_one_job(number: int) -> Counter[str]:
            await asyncio.sleep(random.random() * 2)
            engine.swapper.seconds = random.choice([0.1, 0.2, 0.7])
            return await job(engine, f"job-{number}", random.choice("abc"), alive=random.random() < 0.5)

        async with asyncio.timeout(60):
            counts = sum(await asyncio.gather(*(run_one_job(number) for number in range(10))), Counter[str]())
        assert min(counts["answered"], counts["lost"]) > 5
        assert (engine.lease.holder, engine.lease.waiting, engine.running) == (None, {}, set())
        assert (engine.scheduler._room._value, engine.scheduler._turns._value) == (12, 2)  # nothing keeps any of it

    asyncio.run(run())


def test_the_starting_job_gets_the_lease_first_and_an_awaited_engine_is_not_evicted() -> None:
    async def run() -> None:
        engine = actor(Lease(waiting={"starter": time.monotonic()}))
        assert not await engine.acquire("other", 0)
        assert await engine.acquire("starter", 0)
        waiting = asyncio.create_task(engine.acquire("other", 10))
        await asyncio.sleep(0)
        await engine.release("starter")
        assert not await engine.evict()
        assert await waiting

    asyncio.run(run())


def test_a_job_that_waits_no_more_does_not_get_the_lease() -> None:
    async def run() -> None:
        engine = actor(Lease())
        await engine.acquire("first", 0)
        waiting = asyncio.create_task(engine.acquire("gone", 10))
        await asyncio.sleep(0.05)
        await engine.release("gone")
        await engine.release("first")
        with pytest.raises(LeaseLost, match="gone has given the engine back"):
            await waiting
        assert engine.lease.holder is None

    asyncio.run(run())
