"""Asking one vLLM engine: rows of tasks in, answers out, as many under way as keep it busy."""

import asyncio
import math
import time
import uuid
from contextlib import aclosing, nullcontext
from typing import Any

from ray_jobs.engine.protocol import Answer, Requests, Task, why_image_missing
from ray_jobs.engine.sampling import make_params
from ray_jobs.engine.server.renderers import RenderedRequest, RendererPool

SMALL_TASK_ROWS = 32  # rows: tasks of no more are so many that they do not end together
IN_FLIGHT_FACTOR = 1.5  # requests under way for each that vLLM runs at once: the others are next


class VllmDied(Exception):
    """vLLM's own process died."""


class RequestScheduler:
    """Asks the engine what its renderers make of tasks; at most ROOM times `sequences` requests at once.

    No more than `rendered_at_once` tasks are rendered at a time, but for SMALL ones, in the order in which they came:
    were it all of them, they would end together, and the engine would have nothing to do until the next ones began.
    """

    def __init__(self, llm: Any, rendering: RendererPool, sequences: int, rendered_at_once: int) -> None:
        self._llm, self._rendering = llm, rendering
        self._room = asyncio.Semaphore(math.ceil(IN_FLIGHT_FACTOR * sequences))
        self._turns = asyncio.Semaphore(rendered_at_once)

    async def answers(self, requests: Requests, task: Task, ready: asyncio.Event) -> list[Answer]:
        """Answers to what `requests` asks about the task's rows, which are rendered before the engine is `ready`.

        Raises EngineDied, RendererDied.
        """
        waiting: list[asyncio.Task[Answer]] = []
        turn = self._turns if len(task["rows"]) > SMALL_TASK_ROWS else nullcontext()
        try:
            async with turn, aclosing(self._rendering.render_task(requests, task)) as rendered:
                async for some in rendered:
                    for asked in some:
                        await self._room.acquire()
                        waiting.append(asyncio.create_task(self._one(asked, ready)))
                        waiting[-1].add_done_callback(lambda _: self._room.release())
            return list(await asyncio.gather(*waiting))
        finally:
            for one in waiting:
                one.cancel()

    async def generate(self, inputs: Any, sampling: dict[str, Any]) -> Any:
        """vLLM's output for what a renderer made. Raises what vLLM raises."""
        from vllm.sampling_params import RequestOutputKind

        params = make_params(sampling, output_kind=RequestOutputKind.FINAL_ONLY)
        output = None
        async for output in self._llm.generate(inputs, params, uuid.uuid4().hex):  # noqa: B007
            pass
        return output

    async def _one(self, asked: RenderedRequest, ready: asyncio.Event) -> Answer:
        await ready.wait()
        found: Answer = {"key": asked["key"], "text": None, "finish_reason": None, "prompt_tokens": 0, "tokens": 0}
        found |= {"arrived": time.time(), "finished": 0.0, "failure": None, "detail": None, "render": asked["render"]}
        if asked["failure"]:
            return found | {"failure": asked["failure"], "detail": asked["detail"]}
        try:
            output = await self.generate(asked["inputs"], asked["sampling_params"])
        except Exception as error:  # a row that vLLM refuses costs that row
            if self._llm.errored:
                raise VllmDied(str(error)) from None
            return found | {"failure": "engine-error", "detail": str(error.__cause__ or error)[:500]}
        said, prompt_tokens = output.outputs[0], len(output.prompt_token_ids)
        found |= {"prompt_tokens": prompt_tokens, "tokens": len(said.token_ids), "finished": time.time()}
        found |= _phase_seconds(output.metrics)
        if detail := why_image_missing(prompt_tokens, asked["least_tokens"]):
            return found | {"failure": "image-missing", "detail": detail}
        return found | {"text": said.text, "finish_reason": said.finish_reason}


def _phase_seconds(metrics: Any) -> dict[str, float]:
    """Seconds that a request waited in the queue, until its first token, and from there to its last."""
    if metrics is None or not metrics.first_token_ts:
        return {}
    return {
        "queue": metrics.scheduled_ts - metrics.queued_ts,
        "prefill": metrics.first_token_ts - metrics.scheduled_ts,
        "decode": metrics.last_token_ts - metrics.first_token_ts,
    }
