"""The Ray actor that keeps a vLLM engine running between jobs, and loads the next checkpoint by a weight swap.

The drivers of jobs call the actor. The actor serves only the holder of its lease. It ends itself if no driver has
leased it for `keep_seconds`, and if it cannot prove which weights are in vLLM. The driver then starts another actor.
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

from ray_jobs.checkpoints.inspect import resolve
from ray_jobs.checkpoints.node_cache import fetch
from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.engine.bounded_calls import ComputeTimeout
from ray_jobs.engine.chosen_settings import EXPECTED, Workload, max_sequences
from ray_jobs.engine.errors import OutputTee
from ray_jobs.engine.protocol import Answer, Requests, Task
from ray_jobs.engine.server.checkpoint_files import fetch_in_thread
from ray_jobs.engine.server.lease import LEASE_SECONDS, Lease, LeaseLost
from ray_jobs.engine.server.renderers import RendererDied
from ray_jobs.engine.server.scheduler import RequestScheduler, VllmDied
from ray_jobs.engine.server.telemetry import EngineTelemetry
from ray_jobs.engine.server.vllm_start import StartClock, start_vllm
from ray_jobs.engine.server.weight_swap import WeightsUnverified, WeightSwapper
from ray_jobs.engine.settings import max_tasks_rendering
from ray_jobs.engine.watchdog import Watchdog, silence_limit
from ray_jobs.inputs.errors import InputError
from ray_jobs.runtime.collector import collector_paused
from ray_jobs.runtime.worker_log import show_log_lines

log = logging.getLogger("assay")

START_TIMEOUT_S = 3600.0  # seconds for the download, for vLLM's start and for its compilation
WATCH_INTERVAL_S = 0.5  # seconds between checks of the lease and of the idle time
LEASE_POLL_S = 0.02  # seconds between checks while a driver waits for the lease


class EngineDead(Exception):
    """vLLM's own process died; the actor has ended itself."""


class WarmEngine:
    """One vLLM engine, and the lease on it. Methods that use the engine raise LeaseLost without the lease.

    `token` belongs to the driver that starts the actor, and is first in line for the lease.
    """

    watchdog: Watchdog | None = None
    watch_task: asyncio.Task[None] | None = None
    choice = ""  # a line about the settings that the suite left out

    def __init__(
        self, checkpoint: Checkpoint, engine: Engine, has_gpu: bool, token: str, workload: Workload = EXPECTED
    ) -> None:
        show_log_lines()
        self.clock = StartClock()
        self.ahead = ThreadPoolExecutor(1, thread_name_prefix="ahead")  # a separate pool, so that no job waits for it
        # Not for an adapter: its merge imports torch, and two threads must not import the same modules.
        files = None if checkpoint.base else fetch_in_thread(self.ahead, checkpoint)
        with collector_paused():
            import vllm.v1.engine.async_llm  # noqa: F401
            from vllm import envs
        self.clock.end_phase("imports")
        # The watchdog acts before a driver does (`driver_silence_limit`), so the end of the process proves a hang.
        self.watchdog = Watchdog(1.5 * silence_limit())
        threading.Thread(target=self._beat_until_acquired, daemon=True).start()
        self.output_tee = OutputTee()
        files = files or fetch_in_thread(self.ahead, checkpoint)
        self.llm, renderers, prompts, layout, engine, self.choice = start_vllm(
            checkpoint, engine, has_gpu, workload, files, self.output_tee, self.clock
        )
        envs.enable_envs_cache()  # else vLLM reads its environment variables again for every token
        self.keep_seconds, self.idle_since = engine.keep_seconds, time.monotonic()
        self.scheduler = RequestScheduler(
            self.llm, renderers, max_sequences(engine, has_gpu), max_tasks_rendering(engine, has_gpu)
        )
        self.swapper = WeightSwapper(
            checkpoint, layout, files.hashing, prompts, self.llm, renderers.local, self.scheduler
        )
        self.lease = Lease(waiting={token: time.monotonic()})
        self.weights_ready = asyncio.Event()  # set when the weights of the holder's checkpoint are in vLLM
        self.loads = 0
        self.running: set[asyncio.Task[Any]] = set()
        self.swap_lock = asyncio.Lock()
        self.telemetry = EngineTelemetry(has_gpu)
        log.info("engine: started in %s", self.clock.describe())
        threading.Thread(target=self._exit_if_unclaimed, daemon=True).start()

    async def start_seconds(self) -> dict[str, float]:
        """The seconds of each phase of this engine's start, and when it `began`, in seconds since the epoch."""
        return {"began": self.clock.began, **self.clock.seconds}

    async def acquire(self, token: str, wait: float) -> bool:
        """Whether the token gets the lease within `wait` seconds. Tokens get it in the order of their first requests.

        The holder must renew the lease. After LEASE_SECONDS of silence the holder has lost it.
        """
        self._ensure_watch()
        end = time.monotonic() + wait
        while not self._take_lease(token):
            if time.monotonic() >= end:
                return False
            await asyncio.sleep(LEASE_POLL_S)
        return True

    async def wait_for_job(self) -> None:
        """Wait `keep_seconds` for a driver, because this engine was started early: a later job will lease it."""
        self._ensure_watch()

    async def renew(self, token: str) -> None:
        self.lease.renew(token, time.monotonic())

    async def release(self, token: str) -> None:
        """Give the lease back. The token's tasks in flight are cancelled."""
        if self.lease.holder == token:
            self._drop_holder(token)
        else:
            self.lease.release(token)

    async def evict(self) -> bool:
        """End the engine if it is idle, because a job waits for its GPU. Returns whether the engine ends.

        The engine is not idle while a job has the lease or waits for it, or while the driver that started it may be
        about to acquire the lease. The caller cancels a late request: no deadline is sent, because clocks differ.
        """
        now = time.monotonic()
        young = self.loads == 0 and now - self.idle_since < LEASE_SECONDS
        if young or self.lease.next_in_line(now) or not self.lease.is_free(now):
            return False
        self._end()
        return True

    async def fetch_ahead(self, uri: str, base_model: str | None) -> None:
        """Copy the checkpoint to this node and hash its files, for the next job. A fault is only logged.

        The base of an adapter is the model that the adapter names, or else `base_model`.
        """
        async with self.swap_lock:  # wait for the end of a weight swap
            pass
        try:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self.ahead, lambda: fetch(resolve(uri, base_model), speculative=True))
        except Exception as error:
            log.warning("engine: not fetched ahead: %s", error)

    async def load_checkpoint(self, token: str, checkpoint: Checkpoint) -> dict[str, Any]:
        """Load the checkpoint's weights into vLLM. Returns the load report: `warm`, `reason`, `seconds` and `choice`.

        Raises WeightsUnverified if it is not proven that exactly these weights are loaded, and InputError if the files
        were changed meanwhile.
        """
        async with self.swap_lock:  # a swap of a driver that has lost the lease may still run
            self._check_lease(token)
            weights_ready, began = self.weights_ready, time.monotonic()
            self.loads += 1
            try:
                reason, warm = await self.swapper.load(checkpoint, partial(self._check_lease, token))
            except (WeightsUnverified, ComputeTimeout):
                self._end()
                raise
            except InputError:
                if self.swapper.resident is None:  # else the weights in vLLM are untouched
                    self._end()
                raise
            except Exception as error:
                if self.llm.errored:
                    raise self._end_as_dead(error) from None
                raise
            weights_ready.set()
            seconds = time.monotonic() - began
            self.telemetry.observe_swap(seconds)
            return {"warm": warm, "reason": reason, "seconds": seconds, "choice": self.choice}

    async def gpu_seconds(self, token: str) -> dict[str, float]:
        """Seconds that the GPU was busy and idle during this job: `gpu_busy` and `gpu_idle`; empty without a GPU."""
        self._check_lease(token)
        return self.telemetry.gpu_seconds()

    async def answer_task(self, token: str, fingerprint: str, requests: Requests, task: Task) -> list[Answer]:
        """Answers to the requests about the task's rows, by the weights with this fingerprint.

        The rows are rendered at once. vLLM gets them when `load_checkpoint` has loaded this holder's weights. A fault
        of rendering is raised only then, so that it is not taken for a fault of the weights. Raises EngineDead if vLLM
        or a renderer dies, LeaseLost if the token has lost the lease.
        """
        self._check_lease(token)
        ready = asyncio.Event()
        job = asyncio.create_task(self.scheduler.run_task(requests, task, ready))
        self.running.add(job)
        try:
            await self._wait_for_weights(token)
            self._check_weights(token, fingerprint)
            ready.set()
            answers = await job
        except asyncio.CancelledError:
            raise LeaseLost(f"{token} lost the engine while it was answering") from None
        except ComputeTimeout:  # the computation in this process does not stop
            self._end()
            raise
        except (VllmDied, RendererDied) as error:
            raise self._end_as_dead(error) from None
        finally:
            job.cancel()
            self.running.discard(job)
        self._check_weights(token, fingerprint)
        for answer in answers:
            self.telemetry.count_answer(answer["failure"])
        return answers

    async def _wait_for_weights(self, token: str) -> None:
        """Wait until this holder's weights are in vLLM. Raises LeaseLost if the holder loses the lease before."""
        weights_ready = self.weights_ready
        while not weights_ready.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(weights_ready.wait(), WATCH_INTERVAL_S)
            self._check_lease(token)

    def _check_lease(self, token: str) -> None:
        self.lease.check(token, time.monotonic())

    def _check_weights(self, token: str, fingerprint: str) -> None:
        self._check_lease(token)
        if self.swapper.resident != fingerprint:
            raise LeaseLost(f"{token} wants {fingerprint}, and the engine has other weights by now")

    def _ensure_watch(self) -> None:
        if self.watch_task is None:
            self.watch_task = asyncio.create_task(self._watch())

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
                self.telemetry.sample_gpu(WATCH_INTERVAL_S)
            if self.lease.holder and self.lease.is_free(now):
                log.warning("engine: %s is gone, its requests are dropped", self.lease.holder)
                self._drop_holder(self.lease.holder)
            if self.lease.holder is None and now - self.idle_since > self.keep_seconds:
                self._end()

    def _beat_until_acquired(self) -> None:
        """Beat the watchdog until the first `acquire`. From then on the event loop beats it."""
        end = time.monotonic() + START_TIMEOUT_S
        while self.watch_task is None and time.monotonic() < end:
            assert self.watchdog
            self.watchdog.beat()
            time.sleep(WATCH_INTERVAL_S)

    def _exit_if_unclaimed(self) -> None:
        """End the process if no driver has acquired the lease: the job that started it may be gone."""
        time.sleep(2 * LEASE_SECONDS)
        if self.watch_task is None:
            self._exit()

    def _take_lease(self, token: str) -> bool:
        now = time.monotonic()
        if self.lease.holder not in (None, token) and self.lease.is_free(now):
            self._drop_holder(str(self.lease.holder))  # first, so that no task of the old holder continues
        return self.lease.take(token, now)

    def _drop_holder(self, token: str) -> None:
        """Take the lease from its holder and cancel its tasks in flight."""
        for job in self.running:
            job.cancel()
        self.lease.release(token)
        self.weights_ready = asyncio.Event()
        self.telemetry.reset()
        self.idle_since = time.monotonic()

    def _end_as_dead(self, error: Exception) -> EngineDead:
        self._end()
        return EngineDead(f"{' '.join(str(error).split())[:200]}; {self.output_tee.last_exception()}")

    def _end(self) -> None:
        """Make the lease invalid at once. End vLLM and this process 0.2 s later, so that callers get their answers."""
        self.lease.holder, self.swapper.resident = "the end", None
        self.lease.until = math.inf
        asyncio.get_running_loop().call_later(0.2, self._exit)

    def _exit(self) -> None:
        try:
            self.llm.shutdown()
        finally:
            os._exit(0)
