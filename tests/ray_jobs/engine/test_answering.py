"""The order in which rows of tasks reach an engine. Only the order: engine and renderers are stood in for here."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

from ray_jobs.engine.answering import Answerer

ROWS = 4


class Engine:
    """Holds every request until it is let go."""

    errored = False

    def __init__(self) -> None:
        self.held: dict[str, asyncio.Event] = {}

    async def generate(self, inputs: str, *_: Any) -> AsyncIterator[Any]:
        self.held[inputs] = asyncio.Event()
        await self.held[inputs].wait()
        said = SimpleNamespace(token_ids=[1], text=inputs, finish_reason="stop")
        yield SimpleNamespace(outputs=[said], prompt_token_ids=[1, 2], metrics=None)


class Rendering:
    async def rendered(self, requests: Callable[..., Any], task: dict[str, Any]) -> AsyncGenerator[list[Any]]:
        for row in task["rows"]:
            await asyncio.sleep(0)
            yield [{
                "key": f"{task['part']}/{row}", "inputs": f"{task['part']}/{row}", "sampling_params": {},
                "least_tokens": 1, "render": 0.0, "failure": None, "detail": None,
            }]  # fmt: skip


async def settled() -> None:
    for _ in range(100):
        await asyncio.sleep(0)


def test_the_next_tasks_rows_are_there_before_the_ones_before_are_answered() -> None:
    """Else the engine runs empty at the end of tasks that end together."""

    async def played() -> None:
        engine = Engine()
        answerer = Answerer(engine, Rendering(), sequences=4, rendered_at_once=2)  # type: ignore[arg-type]
        tasks = [{"part": part, "rows": list(range(ROWS))} for part in "abc"]
        jobs = [asyncio.create_task(answerer.answers(lambda *_: iter(()), task)) for task in tasks]
        await settled()
        assert sorted(engine.held) == ["a/0", "a/1", "a/2", "b/0", "b/1", "b/2"]  # one and a half for each sequence
        for first in ("a/0", "b/0", "a/1", "b/1"):
            engine.held[first].set()
        await settled()
        assert sorted(engine.held)[-2:] == ["c/0", "c/1"]
        assert not any(job.done() for job in jobs)
        while not all(job.done() for job in jobs):
            for one in engine.held.values():
                one.set()
            await settled()
        found = [answer["text"] for job in jobs for answer in job.result()]
        assert found == [f"{part}/{row}" for part in "abc" for row in range(ROWS)]

    asyncio.run(played())


def test_a_task_that_is_dropped_gives_its_turn_back() -> None:
    async def played() -> None:
        engine = Engine()
        answerer = Answerer(engine, Rendering(), sequences=1, rendered_at_once=1)  # type: ignore[arg-type]
        tasks = [{"part": part, "rows": list(range(ROWS))} for part in "ab"]
        first, second = (asyncio.create_task(answerer.answers(lambda *_: iter(()), task)) for task in tasks)
        await settled()
        assert sorted(engine.held) == ["a/0", "a/1"]
        first.cancel()
        while not second.done():
            await settled()
            for one in engine.held.values():
                one.set()
        assert [answer["text"] for answer in second.result()] == [f"b/{row}" for row in range(ROWS)]

    asyncio.run(played())
