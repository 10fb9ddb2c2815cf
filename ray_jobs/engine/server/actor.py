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
from ray_jobs.engine.bounded_calls import ComputeTimeout, run_limited
from ray_jobs.engine.compatibility import tensor_layout
from ray_jobs.engine.errors import OutputTee
from ray_jobs.engine.prompt import PromptBuilder
from ray_jobs.engine.protocol import Answer, Requests, Task
from ray_jobs.engine.server.lease import LEASE_SECONDS, Lease, LeaseLost
from ray_jobs.engine.server.renderers import RendererDied, RendererPool
from ray_jobs.engine.server.scheduler import RequestScheduler, VllmDied
from ray_jobs.engine.server.telemetry import EngineTelemetry, vllm_stat_loggers
from ray_jobs.engine.server.weight_swap import WeightsUnverified, WeightSwapper
from ray_jobs.engine.settings import build_warm_config, count_renderers, max_tasks_rendering
from ray_jobs.engine.watchdog import Watchdog, silence_limit
from ray_jobs.inputs.errors import InputError

log = logging.getLogger("assay")

START_TIMEOUT_S = 3600.0  # for a download, vLLM's start and what it compiles
WATCH_INTERVAL_S = 0.5  # seconds between looks at lease and idle time
LEASE_POLL_S = 0.02  # between looks of those who wait for the lease


class EngineDead(Exception):
    """vLLM's own process died; the actor has ended itself."""


class WarmEngine:
    """One vLLM engine in its own process. What is done with the engine raises Lost without the lease.

    The one with the `token`, who starts it, is the first to have it.
    """

    watchdog: Watchdog | None = None
    watch_task: asyncio.Task[None] | None = None

    def __init__(self, checkpoint: Checkpoint, engine: Engine, gpu: bool, token: str) -> None:
        from vllm import envs
        from vllm.v1.engine.async_llm import AsyncLLM

        self.watchdog = Watchdog(
            1.5 * silence_limit()
        )  # before a driver's `holding.patience`, so that its end proves a hang
        threading.Thread(target=self._beat, daemon=True).start()
        path = fetch(checkpoint)
        self.ahead = ThreadPoolExecutor(1, thread_name_prefix="ahead")  # what is needed now does not wait for it
        hashing = self.ahead.submit(verify, checkpoint)  # a directory's files, while vLLM loads them
        found, maker = (
            tensor_layout(place_of_weights(checkpoint, path)),
            run_limited(lambda: PromptBuilder(path, checkpoint.uri), checkpoint.uri),
        )
        self.output_tee = OutputTee()
        try:
            with self.output_tee.capture_children():
                config = build_warm_config(engine, gpu, str(path))
                rendering = RendererPool(count_renderers(engine, gpu), path, checkpoint.uri, config)
                self.llm = AsyncLLM.from_vllm_config(config, stat_loggers=vllm_stat_loggers())
        except Exception as error:
            verify(checkpoint)  # one that was overwritten meanwhile need not load
            raise RuntimeError(f"{error}\n{self.output_tee.last_words(wait=5)}") from error
        rendering.begin(maker, self.llm.renderer)
        envs.enable_envs_cache()  # vLLM looks its variables up for every token, else anew each time
        self.keep_seconds, self.idle_since = engine.keep_seconds, time.monotonic()
        self.scheduler = RequestScheduler(self.llm, rendering, engine.max_num_seqs, max_tasks_rendering(engine, gpu))
        self.swapper = WeightSwapper(checkpoint, found, hashing, maker, self.llm, rendering.own, self.scheduler)
        self.lease = Lease(waiting={token: time.monotonic()})
        self.weights_ready = asyncio.Event()  # whether the weights of the holder's checkpoint are in the engine
        self.loads = 0
        self.running: set[asyncio.Task[Any]] = set()
        self.swap_lock = asyncio.Lock()
        self.telemetry = EngineTelemetry(gpu)
        threading.Thread(target=self._exit_if_unclaimed, daemon=True).start()

    async def acquire(self, token: str, wait: float) -> bool:
        """Whether the token has the lease within `wait` seconds: its turn comes after all who asked before.

        It must then be renewed: `lease.SECONDS` of silence lose it.
        """
        if self.watch_task is None:
            self.watch_task = asyncio.create_task(self._watch())
        end = time.monotonic() + wait
        while not self._take(token):
            if time.monotonic() >= end:
                return False
            await asyncio.sleep(LEASE_POLL_S)
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
        young = self.loads == 0 and now - self.idle_since < LEASE_SECONDS
        if young or self.lease.next(now) or not self.lease.free(now):
            return False
        self._end()
        return True

    async def fetch_ahead(self, uri: str, base_model: str | None) -> None:
        """Have the checkpoint on this node and its files hashed, for a job to come. Whatever fails will fail there.

        An adapter's base is the one that it names, else `base_model`.
        """
        async with self.swap_lock:  # a change of weights that is going on comes first
            pass
        try:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self.ahead, lambda: fetch(resolve(uri, base_model), ahead=True))
        except Exception as error:
            log.warning("engine: not fetched ahead: %s", error)

    async def load_checkpoint(self, token: str, checkpoint: Checkpoint) -> dict[str, Any]:
        """Have the checkpoint's weights in the engine: `warm`, `told` why, and the `seconds` it took.

        Raises Doubt when it is not certain that they are in it, and exactly they; InputError when somebody wrote to
        them.
        """
        async with self.swap_lock:  # a holder may have lost the lease and its swap be going on
            self._check_lease(token)
            handed, began = self.weights_ready, time.monotonic()
            self.loads += 1
            try:
                reason, warm = await self.swapper.load(checkpoint, partial(self._check_lease, token))
            except (WeightsUnverified, ComputeTimeout):
                self._end()
                raise
            except InputError:
                if self.swapper.resident is None:  # else nothing has touched the weights in it
                    self._end()
                raise
            except Exception as error:
                if self.llm.errored:
                    raise self._dead(error) from None
                raise
            handed.set()
            seconds = time.monotonic() - began
            self.telemetry.swapped(seconds)
            return {"warm": warm, "reason": reason, "seconds": seconds}

    async def gpu_seconds(self, token: str) -> dict[str, float]:
        """How long the GPU was busy and idle while it was asked: `gpu_busy` and `gpu_idle`, none without a GPU."""
        self._check_lease(token)
        return self.telemetry.seconds()

    async def answer_task(self, token: str, fingerprint: str, requests: Requests, task: Task) -> list[Answer]:
        """Answers, by the weights with the fingerprint, to what `requests` asks about the task's rows.

        They are rendered at once, and the engine is asked when `serve` is through with this holder's weights: what goes
        wrong is told only then, for the weights are not to blame. Raises Dead when the engine dies of it, Lost when it
        is another's by now.
        """
        self._check_lease(token)
        ready = asyncio.Event()
        job = asyncio.create_task(self.scheduler.answers(requests, task, ready))
        self.running.add(job)
        try:
            await self._wait_for_weights(token)
            self._check(token, fingerprint)
            ready.set()
            answers = await job
        except asyncio.CancelledError:
            raise LeaseLost(f"{token} lost the engine while it was answering") from None
        except ComputeTimeout:  # what computes in this process does not stop
            self._end()
            raise
        except (VllmDied, RendererDied) as error:
            raise self._dead(error) from None
        finally:
            job.cancel()
            self.running.discard(job)
        self._check(token, fingerprint)
        for one in answers:
            self.telemetry.answered(one["failure"])
        return answers

    async def _wait_for_weights(self, token: str) -> None:
        """Return when this holder's weights are in the engine. Raises Lost when it holds it no more."""
        handed = self.weights_ready
        while not handed.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(handed.wait(), WATCH_INTERVAL_S)
            self._check_lease(token)

    def _check_lease(self, token: str) -> None:
        self.lease.check(token, time.monotonic())

    def _check(self, token: str, fingerprint: str) -> None:
        self._check_lease(token)
        if self.swapper.resident != fingerprint:
            raise LeaseLost(f"{token} wants {fingerprint}, and the engine has other weights by now")

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            if self.watchdog:
                self.watchdog.beat()
            now = time.monotonic()
            if self.llm.errored:
                self._end()
                return
            if self.running and self.weights_ready.is_set():
                self.telemetry.sample(WATCH_INTERVAL_S)
            if self.lease.holder and self.lease.free(now):
                log.warning("engine: %s is gone, its requests are dropped", self.lease.holder)
                self._drop(self.lease.holder)
            if self.lease.holder is None and now - self.idle_since > self.keep_seconds:
                self._end()

    def _beat(self) -> None:
        """Say that all is well until the event loop says so, which it does from the first request on."""
        end = time.monotonic() + START_TIMEOUT_S
        while self.watch_task is None and time.monotonic() < end:
            assert self.watchdog
            self.watchdog.beat()
            time.sleep(WATCH_INTERVAL_S)

    def _exit_if_unclaimed(self) -> None:
        """End an engine that nobody asks for: the job that started it may be gone."""
        time.sleep(2 * LEASE_SECONDS)
        if self.watch_task is None:
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
        self.weights_ready = asyncio.Event()
        self.telemetry.forget()
        self.idle_since = time.monotonic()

    def _dead(self, error: Exception) -> EngineDead:
        self._end()
        return EngineDead(f"{' '.join(str(error).split())[:200]}; {self.output_tee.last_words()}")

    def _end(self) -> None:
        """End the engine, then this process, a moment later so that what was asked is answered."""
        self.lease.holder, self.swapper.resident = "the end", None
        self.lease.until = math.inf
        asyncio.get_running_loop().call_later(0.2, self._exit)

    def _exit(self) -> None:
        try:
            self.llm.shutdown()
        finally:
            os._exit(0)
