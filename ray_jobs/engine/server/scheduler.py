"""Sends the rows of tasks to one vLLM engine and returns the answers. The actor calls it.

Invariant: the number of requests in flight is bounded, and large enough that vLLM never idles.
"""

import asyncio
import math
import time
import uuid
from contextlib import aclosing, nullcontext
from typing import Any

from ray_jobs.engine.protocol import Answer, Requests, Task, why_image_missing
from ray_jobs.engine.sampling import make_params
from ray_jobs.engine.server.renderers import RenderedRequest, RendererPool

SMALL_TASK_ROWS = 32  # tasks up to this size are numerous, so they do not all end together
IN_FLIGHT_FACTOR = 1.5  # requests in flight per sequence that vLLM runs at once, so that it never idles


class VllmDied(Exception):
    """vLLM's own process died."""


class RequestScheduler:
    """Sends rendered rows to vLLM, with at most IN_FLIGHT_FACTOR x `sequences` requests in flight.

    At most `rendered_at_once` tasks are rendered at the same time, in the order in which they came. Small tasks do not
    count. If all tasks were rendered at once, they would end together, and vLLM would idle until the next ones began.
    """

    def __init__(self, llm: Any, renderers: RendererPool, sequences: int, rendered_at_once: int) -> None:
        self._llm, self._renderers = llm, renderers
        self._room = asyncio.Semaphore(math.ceil(IN_FLIGHT_FACTOR * sequences))
        self._turns = asyncio.Semaphore(rendered_at_once)

    async def run_task(self, requests: Requests, task: Task, ready: asyncio.Event) -> list[Answer]:
        """Answers to the requests about the task's rows. Rows are rendered at once, and sent after `ready` is set.

        Raises VllmDied, RendererDied.
        """
        answers: list[asyncio.Task[Answer]] = []
        turn = self._turns if len(task["rows"]) > SMALL_TASK_ROWS else nullcontext()
        try:
            async with turn, aclosing(self._renderers.render_task(requests, task)) as blocks:
                async for block in blocks:
                    for request in block:
                        await self._room.acquire()
                        answers.append(asyncio.create_task(self._answer_request(request, ready)))
                        answers[-1].add_done_callback(lambda _: self._room.release())
            return list(await asyncio.gather(*answers))
        finally:
            for answer in answers:
                answer.cancel()

    async def generate(self, inputs: Any, sampling: dict[str, Any]) -> Any:
        """vLLM's output for a rendered request. vLLM's own errors are raised."""
        from vllm.sampling_params import RequestOutputKind

        params = make_params(sampling, output_kind=RequestOutputKind.FINAL_ONLY)
        output = None
        async for output in self._llm.generate(inputs, params, uuid.uuid4().hex):  # noqa: B007
            pass
        return output

    async def _answer_request(self, request: RenderedRequest, ready: asyncio.Event) -> Answer:
        await ready.wait()
        answer: Answer = {"key": request["key"], "text": None, "finish_reason": None, "prompt_tokens": 0, "tokens": 0}
        answer |= {
            "arrived": time.time(),
            "finished": 0.0,
            "failure": None,
            "detail": None,
            "render": request["render"],
        }
        if request["failure"]:
            return answer | {"failure": request["failure"], "detail": request["detail"]}
        try:
            output = await self.generate(request["inputs"], request["sampling_params"])
        except Exception as error:  # a row that vLLM refuses costs that row
            if self._llm.errored:
                raise VllmDied(str(error)) from None
            return answer | {"failure": "engine-error", "detail": str(error.__cause__ or error)[:500]}
        completion, prompt_tokens = output.outputs[0], len(output.prompt_token_ids)
        answer |= {"prompt_tokens": prompt_tokens, "tokens": len(completion.token_ids), "finished": time.time()}
        answer |= _phase_seconds(output.metrics)
        if detail := why_image_missing(prompt_tokens, request["least_tokens"]):
            return answer | {"failure": "image-missing", "detail": detail}
        return answer | {"text": completion.text, "finish_reason": completion.finish_reason}


def _phase_seconds(metrics: Any) -> dict[str, float]:
    """A request's seconds in the `queue`, until its first token (`prefill`), and until its last (`decode`)."""
    if metrics is None or not metrics.first_token_ts:
        return {}
    return {
        "queue": metrics.scheduled_ts - metrics.queued_ts,
        "prefill": metrics.first_token_ts - metrics.scheduled_ts,
        "decode": metrics.last_token_ts - metrics.first_token_ts,
    }
