"""The actor that keeps a vLLM engine running between jobs and takes the next checkpoint by a change of weights.

It serves one lease at a time, ends itself when nobody has held it for a while, and ends itself on any doubt about what
is in it: a holder that finds it gone starts another.
"""

import asyncio
import logging
import math
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from ray_jobs.checkpoints.inspect import resolve, verify
from ray_jobs.checkpoints.node_cache import fetch, place_of_weights
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.contract.suite import Engine
from ray_jobs.engine.server.lease import SECONDS, Lease, Lost
from ray_jobs.engine.server.renderers import RendererDied, Rendering
from ray_jobs.engine.server.scheduler import Answerer, EngineDied
from ray_jobs.engine.server.telemetry import Meters, of_vllm
from ray_jobs.engine.server.weight_swap import Contents, Doubt
from ray_jobs.engine.shared.bounded_calls import Endless, run_limited
from ray_jobs.engine.shared.compatibility import layout
from ray_jobs.engine.shared.errors import Overheard
from ray_jobs.engine.shared.prompt import PromptMaker
from ray_jobs.engine.shared.protocol import Answer, Requests, Task
from ray_jobs.engine.shared.settings import rendered_at_once, renderers, warm_config
from ray_jobs.engine.shared.watchdog import Watchdog, silence
from ray_jobs.inputs.errors import InputError

log = logging.getLogger("assay")

START_SECONDS = 3600.0  # for a download, vLLM's start and what it compiles
TICK = 0.5  # seconds between looks at lease and idle time
GLANCE = 0.02  # between looks of those who wait for the lease


class Dead(Exception):
    """vLLM's own process died; the actor has ended itself."""


class WarmEngine:
    """One vLLM engine in its own process. What is done with the engine raises Lost without the lease.

    The one with the `token`, who starts it, is the first to have it.
    """

    watchdog: Watchdog | None = None
    watching: asyncio.Task[None] | None = None

    def __init__(self, checkpoint: Checkpoint, engine: Engine, gpu: bool, token: str) -> None:
        from vllm import envs
        from vllm.v1.engine.async_llm import AsyncLLM

        self.watchdog = Watchdog(1.5 * silence())  # before a driver's `holding.patience`, so that its end proves a hang
        threading.Thread(target=self._beat, daemon=True).start()
        path = fetch(checkpoint)
        self.ahead = ThreadPoolExecutor(1, thread_name_prefix="ahead")  # what is needed now does not wait for it
        hashing = self.ahead.submit(verify, checkpoint)  # a directory's files, while vLLM loads them
        found, maker = (
            layout(place_of_weights(checkpoint, path)),
            run_limited(lambda: PromptMaker(path, checkpoint.uri), checkpoint.uri),
        )
        self.overheard = Overheard()
        try:
            with self.overheard.starting():
                config = warm_config(engine, gpu, str(path))
                rendering = Rendering(renderers(engine, gpu), path, checkpoint.uri, config)
                self.llm = AsyncLLM.from_vllm_config(config, stat_loggers=of_vllm())
        except Exception as error:
            verify(checkpoint)  # one that was overwritten meanwhile need not load
            raise RuntimeError(f"{error}\n{self.overheard.last_words(wait=5)}") from error
        rendering.begin(maker, self.llm.renderer)
        envs.enable_envs_cache()  # vLLM looks its variables up for every token, else anew each time
        self.keep_seconds, self.idle_since = engine.keep_seconds, time.monotonic()
        self.answerer = Answerer(self.llm, rendering, engine.max_num_seqs, rendered_at_once(engine, gpu))
        self.contents = Contents(checkpoint, found, hashing, maker, self.llm, rendering.own, self.answerer)
        self.lease = Lease(waiting={token: time.monotonic()})
        self.handed = asyncio.Event()  # whether the weights of the holder's checkpoint are in the engine
        self.loads = 0
        self.running: set[asyncio.Task[Any]] = set()
        self.changing = asyncio.Lock()
        self.meters = Meters(gpu)
        threading.Thread(target=self._abandoned, daemon=True).start()

    async def acquire(self, token: str, wait: float) -> bool:
        """Whether the token has the lease within `wait` seconds: its turn comes after all who asked before.

        It must then be renewed: `lease.SECONDS` of silence lose it.
        """
        if self.watching is None:
            self.watching = asyncio.create_task(self._watch())
        end = time.monotonic() + wait
        while not self._take(token):
            if time.monotonic() >= end:
                return False
            await asyncio.sleep(GLANCE)
        return True

    async def renew(self, token: str) -> None:
        self.lease.renew(token, time.monotonic())

    async def release(self, token: str) -> None:
        """Give the engine back; what is still being answered is dropped."""
        if self.lease.holder == token:
            self._drop(token)
        else:
            self.lease.release(token)

    async def evict(self) -> bool:
        """End the engine for somebody who waits for its GPU now; whether it ends.

        Not while it is held or waited for, nor when its first holder, who started it, may be about to. No time comes
        with the request, because the clocks of two machines differ: whoever asks takes it back.
        """
        now = time.monotonic()
        young = self.loads == 0 and now - self.idle_since < SECONDS
        if young or self.lease.next(now) or not self.lease.free(now):
            return False
        self._end()
        return True

    async def fetch_ahead(self, uri: str, base_model: str | None) -> None:
        """Have the checkpoint on this node and its files hashed, for a job to come. Whatever fails will fail there.

        An adapter's base is the one that it names, else `base_model`.
        """
        async with self.changing:  # a change of weights that is going on comes first
            pass
        try:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self.ahead, lambda: fetch(resolve(uri, base_model), ahead=True))
        except Exception as error:
            log.warning("engine: not fetched ahead: %s", error)

    async def serve(self, token: str, checkpoint: Checkpoint) -> dict[str, Any]:
        """Have the checkpoint's weights in the engine: `warm`, `told` why, and the `seconds` it took.

        Raises Doubt when it is not certain that they are in it, and exactly they; InputError when somebody wrote to
        them.
        """
        async with self.changing:  # a holder may have lost the lease and its swap be going on
            self._check_lease(token)
            handed, began = self.handed, time.monotonic()
            self.loads += 1
            try:
                told, warm = await self.contents.become(checkpoint, partial(self._check_lease, token))
            except (Doubt, Endless):
                self._end()
                raise
            except InputError:
                if self.contents.serving is None:  # else nothing has touched the weights in it
                    self._end()
                raise
            except Exception as error:
                if self.llm.errored:
                    raise self._dead(error) from None
                raise
            handed.set()
            seconds = time.monotonic() - began
            self.meters.swapped(seconds)
            return {"warm": warm, "told": told, "seconds": seconds}

    async def gpu_seconds(self, token: str) -> dict[str, float]:
        """How long the GPU was busy and idle while it was asked: `gpu_busy` and `gpu_idle`, none without a GPU."""
        self._check_lease(token)
        return self.meters.seconds()

    async def answer(self, token: str, fingerprint: str, requests: Requests, task: Task) -> list[Answer]:
        """Answers, by the weights with the fingerprint, to what `requests` asks about the task's rows.

        They are rendered at once, and the engine is asked when `serve` is through with this holder's weights: what goes
        wrong is told only then, for the weights are not to blame. Raises Dead when the engine dies of it, Lost when it
        is another's by now.
        """
        self._check_lease(token)
        ready = asyncio.Event()
        job = asyncio.create_task(self.answerer.answers(requests, task, ready))
        self.running.add(job)
        try:
            await self._handed_over(token)
            self._check(token, fingerprint)
            ready.set()
            answers = await job
        except asyncio.CancelledError:
            raise Lost(f"{token} lost the engine while it was answering") from None
        except Endless:  # what computes in this process does not stop
            self._end()
            raise
        except (EngineDied, RendererDied) as error:
            raise self._dead(error) from None
        finally:
            job.cancel()
            self.running.discard(job)
        self._check(token, fingerprint)
        for one in answers:
            self.meters.answered(one["failure"])
        return answers

    async def _handed_over(self, token: str) -> None:
        """Return when this holder's weights are in the engine. Raises Lost when it holds it no more."""
        handed = self.handed
        while not handed.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(handed.wait(), TICK)
            self._check_lease(token)

    def _check_lease(self, token: str) -> None:
        self.lease.check(token, time.monotonic())

    def _check(self, token: str, fingerprint: str) -> None:
        self._check_lease(token)
        if self.contents.serving != fingerprint:
            raise Lost(f"{token} wants {fingerprint}, and the engine has other weights by now")

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            if self.watchdog:
                self.watchdog.beat()
            now = time.monotonic()
            if self.llm.errored:
                self._end()
                return
            if self.running and self.handed.is_set():
                self.meters.sample(TICK)
            if self.lease.holder and self.lease.free(now):
                log.warning("engine: %s is gone, its requests are dropped", self.lease.holder)
                self._drop(self.lease.holder)
            if self.lease.holder is None and now - self.idle_since > self.keep_seconds:
                self._end()

    def _beat(self) -> None:
        """Say that all is well until the event loop says so, which it does from the first request on."""
        end = time.monotonic() + START_SECONDS
        while self.watching is None and time.monotonic() < end:
            assert self.watchdog
            self.watchdog.beat()
            time.sleep(TICK)

    def _abandoned(self) -> None:
        """End an engine that nobody asks for: the job that started it may be gone."""
        time.sleep(2 * SECONDS)
        if self.watching is None:
            self._exit()

    def _take(self, token: str) -> bool:
        now = time.monotonic()
        if self.lease.holder not in (None, token) and self.lease.free(now):
            self._drop(str(self.lease.holder))  # before another has it, so that nothing of the old one's goes on
        return self.lease.take(token, now)

    def _drop(self, token: str) -> None:
        """Take the lease from its holder, and with it what is still being answered."""
        for job in self.running:
            job.cancel()
        self.lease.release(token)
        self.handed = asyncio.Event()
        self.meters.forget()
        self.idle_since = time.monotonic()

    def _dead(self, error: Exception) -> Dead:
        self._end()
        return Dead(f"{' '.join(str(error).split())[:200]}; {self.overheard.last_words()}")

    def _end(self) -> None:
        """End the engine, then this process, a moment later so that what was asked is answered."""
        self.lease.holder, self.contents.serving = "the end", None
        self.lease.until = math.inf
        asyncio.get_running_loop().call_later(0.2, self._exit)

    def _exit(self) -> None:
        try:
            self.llm.shutdown()
        finally:
            os._exit(0)
