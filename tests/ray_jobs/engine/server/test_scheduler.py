"""The order in which rows of tasks reach an engine. Engine and renderers are stand-ins."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

from ray_jobs.engine.server.scheduler import SMALL_TASK_ROWS, RequestScheduler

ROWS = SMALL_TASK_ROWS + 1


class Engine:
    """Holds every request until the test releases it."""

    errored = False

    def __init__(self) -> None:
        self.held: dict[str, asyncio.Event] = {}

    async def generate(self, inputs: str, *_: Any) -> AsyncIterator[Any]:
        self.held[inputs] = asyncio.Event()
        await self.held[inputs].wait()
        output = SimpleNamespace(token_ids=[1], text=inputs, finish_reason="stop")
        yield SimpleNamespace(outputs=[output], prompt_token_ids=[1, 2], metrics=None)


class Rendering:
    made = 0

    async def render_task(self, requests: Callable[..., Any], task: dict[str, Any]) -> AsyncGenerator[list[Any]]:
        for row in task["rows"]:
            await asyncio.sleep(0)
            self.made += 1
            yield [{
                "key": f"{task['part']}/{row}", "inputs": f"{task['part']}/{row}", "sampling_params": {},
                "least_tokens": 1, "render": 0.0, "failure": None, "detail": None,
            }]  # fmt: skip


async def wait_until_idle() -> None:
    for _ in range(1000):
        await asyncio.sleep(0)


def count_held(engine: Engine) -> dict[str, int]:
    """How many requests of each part have reached the engine."""
    return dict(Counter(key[0] for key in engine.held))


async def all_answered(engine: Engine, jobs: list[asyncio.Task[Any]]) -> list[str]:
    async with asyncio.timeout(30):
        while not all(job.done() for job in jobs):
            for job in engine.held.values():
                job.set()
            await wait_until_idle()
    return [answer["text"] for job in jobs for answer in job.result()]


def start_jobs(
    answerer: RequestScheduler, parts: str, rows: int, ready: asyncio.Event | None = None
) -> list[asyncio.Task[Any]]:
    tasks = [{"part": part, "rows": list(range(rows))} for part in parts]
    if not ready:
        ready = asyncio.Event()
        ready.set()
    return [asyncio.create_task(answerer.run_task(lambda *_: iter(()), task, ready)) for task in tasks]


def test_the_next_tasks_rows_are_there_before_the_ones_before_are_answered() -> None:
    """Otherwise the engine idles when several tasks end together."""

    async def run() -> None:
        engine = Engine()
        answerer = RequestScheduler(engine, Rendering(), sequences=ROWS, rendered_at_once=2)  # type: ignore[arg-type]
        jobs = start_jobs(answerer, "abc", ROWS)
        await wait_until_idle()
        assert count_held(engine) == {"a": 25, "b": 25}  # one and a half for each sequence
        for row in range(15):
            engine.held[f"a/{row}"].set()
            engine.held[f"b/{row}"].set()
        await wait_until_idle()
        assert count_held(engine) == {"a": ROWS, "b": ROWS, "c": 14}
        assert not any(job.done() for job in jobs)
        assert await all_answered(engine, jobs) == [f"{part}/{row}" for part in "abc" for row in range(ROWS)]

    asyncio.run(run())


def test_requests_before_the_weights_are_ready_are_rendered_and_wait() -> None:
    async def run() -> None:
        engine, rendering, ready = Engine(), Rendering(), asyncio.Event()
        answerer = RequestScheduler(engine, rendering, sequences=ROWS, rendered_at_once=2)  # type: ignore[arg-type]
        jobs = start_jobs(answerer, "abc", ROWS, ready)
        await wait_until_idle()
        assert (count_held(engine), rendering.made) == ({}, 52)  # as many as may be under way, and one each that waits
        ready.set()
        assert await all_answered(engine, jobs) == [f"{part}/{row}" for part in "abc" for row in range(ROWS)]

    asyncio.run(run())


def test_small_tasks_do_not_wait_for_each_other() -> None:
    async def run() -> None:
        engine = Engine()
        answerer = RequestScheduler(engine, Rendering(), sequences=100, rendered_at_once=2)  # type: ignore[arg-type]
        jobs = start_jobs(answerer, "abcdef", 3)
        await wait_until_idle()
        assert count_held(engine) == dict.fromkeys("abcdef", 3)
        await all_answered(engine, jobs)

    asyncio.run(run())


def test_a_task_that_is_dropped_gives_its_turn_back() -> None:
    async def run() -> None:
        engine = Engine()
        answerer = RequestScheduler(engine, Rendering(), sequences=4, rendered_at_once=1)  # type: ignore[arg-type]
        first, second = start_jobs(answerer, "ab", ROWS)
        await wait_until_idle()
        assert count_held(engine) == {"a": 6}
        first.cancel()
        assert await all_answered(engine, [second]) == [f"b/{row}" for row in range(ROWS)]

    asyncio.run(run())
