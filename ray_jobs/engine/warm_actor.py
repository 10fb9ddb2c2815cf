"""The actor that keeps a vLLM engine running between jobs and takes the next checkpoint by a change of weights.

It serves one lease at a time, ends itself when nobody has held it for a while, and ends itself on any doubt about what
is in it: a holder that finds it gone starts another.
"""

import asyncio
import logging
import math
import os
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ray_jobs.checkpoint import fetch, verify
from ray_jobs.contract import Checkpoint, Engine
from ray_jobs.engine import canary
from ray_jobs.engine.asked import Answer, Requests, Task, without_image
from ray_jobs.engine.explained import last_words, overheard
from ray_jobs.engine.lease import Lease, Lost
from ray_jobs.engine.likeness import Layout, differs, layout
from ray_jobs.engine.prompt import PromptMaker
from ray_jobs.engine.remaining import AT_ONCE
from ray_jobs.engine.settings import arguments

log = logging.getLogger("assay")

TICK = 0.5  # seconds between looks at lease and idle time


class Doubt(Exception):
    """The engine may not have exactly the checkpoint's weights; it has ended itself."""


class Dead(Exception):
    """vLLM's own process died; the actor has ended itself."""


class WarmEngine:
    """One vLLM engine in its own process. Every method but `acquire` and `evict` raises Lost without the lease."""

    def __init__(self, checkpoint: Checkpoint, engine: Engine, gpu: bool) -> None:
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        path = fetch(checkpoint)
        self.layout: Layout = layout(path)
        self.maker = PromptMaker(path, checkpoint.uri)
        settings = AsyncEngineArgs(
            model=str(path), worker_extension_cls="ray_jobs.engine.weights.Weights", **arguments(engine, gpu)
        )
        with overheard() as said:
            try:
                self.llm = AsyncLLM.from_engine_args(settings)
            except Exception as error:
                raise RuntimeError(f"{error}\n{last_words(said())}") from error
        self.keep_seconds, self.idle_since = engine.keep_seconds, time.monotonic()
        self.lease, self.canary = Lease(), canary.Canary({})
        self.serving: str | None = None  # fingerprint of the weights in the engine; None while that is not certain
        self.held_hash: int | None = None
        self.fresh: str | None = checkpoint.fingerprint
        self.loads = 0
        self.threads = ThreadPoolExecutor(4 * AT_ONCE, thread_name_prefix="images")
        self.room = asyncio.Semaphore(math.ceil(1.1 * engine.max_num_seqs))
        self.watching: asyncio.Task[None] | None = None
        self.running: set[asyncio.Task[Any]] = set()

    async def acquire(self, token: str) -> bool:
        """Whether the token has the lease now. It must then be renewed: `lease.SECONDS` of silence lose it."""
        if self.watching is None:
            await self.llm.collective_rpc("assay_bind")
            self.watching = asyncio.create_task(self._watch())
        return self.lease.take(token, time.monotonic())

    async def renew(self, token: str) -> None:
        self.lease.renew(token, time.monotonic())

    async def release(self, token: str) -> None:
        """Give the engine back; what is still being answered is dropped."""
        if self.lease.holder == token:
            for job in self.running:
                job.cancel()
            self.lease.release(token)
            self.idle_since = time.monotonic()

    async def evict(self) -> bool:
        """End the engine unless somebody holds it; whether it ends."""
        if not self.lease.free(time.monotonic()):
            return False
        self._end()
        return True

    async def serve(self, token: str, checkpoint: Checkpoint) -> dict[str, Any]:
        """Have the checkpoint's weights in the engine: `warm`, `told` why, and the `seconds` it took.

        Raises Doubt when it is not certain that they are in it, and exactly they.
        """
        self.lease.check(token, time.monotonic())
        began = time.monotonic()
        warm = self.loads > 0
        self.loads += 1
        if self.fresh == checkpoint.fingerprint:  # vLLM has just loaded it, and refuses a checkpoint with a tensor less
            self.fresh = None
            self.canary.keep(checkpoint.fingerprint, await self._canary())
            told = "started for this checkpoint"
        elif self.serving == checkpoint.fingerprint:
            told = "the weights of the job before"
        else:
            told = await self._swap(checkpoint)
        self.serving = checkpoint.fingerprint
        return {"warm": warm, "told": told, "seconds": time.monotonic() - began}

    async def answer(self, token: str, requests: Requests, task: Task) -> list[Answer]:
        """Answers to what `requests` asks about the task's rows. Raises Dead when the engine dies of it."""
        self.lease.check(token, time.monotonic())
        if self.serving is None:
            raise Doubt("asked before any checkpoint was served")
        job = asyncio.create_task(self._answered(requests, task))
        self.running.add(job)
        try:
            return await job
        except asyncio.CancelledError:
            raise Lost(f"{token} lost the engine while it was answering") from None
        finally:
            self.running.discard(job)

    async def _swap(self, checkpoint: Checkpoint) -> str:
        path = await asyncio.to_thread(fetch, checkpoint)
        if difference := differs(self.layout, await asyncio.to_thread(layout, path)):
            self._doubt(f"tensors differ: {difference}")
        self.serving = None
        try:
            found = (await self.llm.collective_rpc("assay_load", args=(str(path),)))[0]
            await asyncio.to_thread(verify, checkpoint)  # what was read must have been what was planned
            await self.llm.reset_prefix_cache()
            await self.llm.reset_mm_cache()
            await self.llm.reset_encoder_cache()
            said = await self._canary()
        except Exception as error:
            self._doubt(f"the swap failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
        if (found["read"], found["values_read"]) != (found["held"], found["values_held"]):
            self._doubt(f"{found['values_read']} values were read and {found['values_held']} are held, or not the same")
        if doubt := self.canary.doubt(checkpoint.fingerprint, said, found["held"] != self.held_hash):
            self._doubt(doubt)
        self.held_hash = found["held"]
        self.canary.keep(checkpoint.fingerprint, said)
        return "weights swapped and checked"

    async def _canary(self) -> canary.Saying:
        prompt = self.maker.prompt(canary.PROMPT)
        sampling = {"max_tokens": canary.TOKENS, "temperature": 0.0, "logprobs": 1, "ignore_eos": True}
        asked = (self._generated(prompt, {"image": picture}, sampling) for picture in canary.pictures())
        return canary.saying(await asyncio.gather(*asked))

    async def _answered(self, requests: Requests, task: Task) -> list[Answer]:
        loop = asyncio.get_running_loop()
        asked: Iterator[dict[str, Any]] = requests(task["part"], task["rows"], self.maker)
        waiting: list[asyncio.Task[Answer]] = []
        try:
            while True:
                await self.room.acquire()
                request = None
                try:
                    began = time.monotonic()
                    request = await loop.run_in_executor(self.threads, next, asked, None)
                finally:
                    if request is None:
                        self.room.release()
                if request is None:
                    return list(await asyncio.gather(*waiting))
                one = asyncio.create_task(self._one(request, time.monotonic() - began))
                one.add_done_callback(lambda _: self.room.release())
                waiting.append(one)
        finally:
            for one in waiting:
                one.cancel()

    async def _one(self, request: dict[str, Any], render: float) -> Answer:
        from vllm.v1.engine.exceptions import EngineDeadError

        found: Answer = {"key": request["key"], "text": None, "finish_reason": None, "prompt_tokens": 0, "tokens": 0}
        found |= {"arrived": time.time(), "finished": 0.0, "failure": None, "detail": None, "render": render}
        try:
            output = await self._generated(request["prompt"], request["multimodal_data"], request["sampling_params"])
        except EngineDeadError as error:
            self._end()
            raise Dead(" ".join(str(error).split())[:300]) from None
        except Exception as error:  # a row that vLLM refuses costs that row
            if self.llm.errored:
                self._end()
                raise Dead(" ".join(str(error).split())[:300]) from None
            return found | {"failure": "engine-error", "detail": str(error.__cause__ or error)[:500]}
        said, prompt_tokens = output.outputs[0], len(output.prompt_token_ids)
        found |= {"prompt_tokens": prompt_tokens, "tokens": len(said.token_ids), "finished": time.time()}
        found |= _times(output.metrics)
        if detail := without_image(prompt_tokens, request["least_tokens"]):
            return found | {"failure": "image-missing", "detail": detail}
        return found | {"text": said.text, "finish_reason": said.finish_reason}

    async def _generated(self, prompt: str, images: dict[str, Any], sampling: dict[str, Any]) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        wanted = dict(sampling)
        if structured := wanted.pop("structured_outputs", None):
            wanted["structured_outputs"] = StructuredOutputsParams(**structured)
        output = None
        asked = {"prompt": prompt, "multi_modal_data": images}
        async for output in self.llm.generate(asked, SamplingParams(**wanted), uuid.uuid4().hex):  # noqa: B007
            pass
        return output

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            if self.llm.errored:
                self._end()
                return
            if self.lease.holder and self.lease.free(now):
                log.warning("engine: %s is gone, its requests are dropped", self.lease.holder)
                await self.release(self.lease.holder)
            if self.lease.holder is None and now - self.idle_since > self.keep_seconds:
                self._end()

    def _doubt(self, why: str) -> None:
        """Raises Doubt, and ends the engine."""
        self.serving = None
        self._end()
        raise Doubt(why)

    def _end(self) -> None:
        """End the engine, then this process, a moment later so that what was asked is answered."""
        self.lease.holder, self.serving = "the end", None
        self.lease.until = math.inf
        asyncio.get_running_loop().call_later(0.2, self._exit)

    def _exit(self) -> None:
        try:
            self.llm.shutdown()
        finally:
            os._exit(0)


def _times(metrics: Any) -> dict[str, float]:
    """Seconds that a request waited in the queue, until its first token, and from there to its last."""
    if metrics is None or not metrics.first_token_ts:
        return {}
    return {
        "queue": metrics.scheduled_ts - metrics.queued_ts,
        "prefill": metrics.first_token_ts - metrics.scheduled_ts,
        "decode": metrics.last_token_ts - metrics.first_token_ts,
    }
