"""Opens a session of a job's driver with a warm engine: finds it by name or starts it, leases it, renews the lease.

The engine's side of the lease is in `server/actor.py`.
"""

import logging
import math
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.engine import gpus
from ray_jobs.engine.chosen_settings import EXPECTED, Workload
from ray_jobs.engine.client.eviction import ENGINE_GONE, NAMESPACE, driver_silence_limit, evict_idle, kill_silent
from ray_jobs.engine.client.work_queue import MAX_TASKS_IN_FLIGHT
from ray_jobs.engine.protocol import EngineJob
from ray_jobs.engine.server.actor import WarmEngine
from ray_jobs.engine.server.lease import LEASE_SECONDS
from ray_jobs.engine.settings import engine_environment
from ray_jobs.engine.watchdog import silence_limit
from ray_jobs.fork_server.ray_worker import build_runtime_env
from ray_jobs.runtime.waiting import log_while_waiting

log = logging.getLogger("assay")

PREFIX = "engine-"  # every engine's name begins with it
DID_NOT_START = "creation task"  # Ray's error contains it if an actor did not start
LEASE_WAIT_S = 1.0  # seconds that one request for the lease waits: a killed job cannot get the lease after that

AskEngine = Callable[..., Any]  # takes a task's requests and the task; returns a reference to the answers

_last_answer: dict[str, float] = {}  # by actor id: when an engine that this job has leased answered last


class LeasedEngine(NamedTuple):
    """An engine's actor, and the token of the lease on it."""

    actor: Any
    token: str


class EngineHung(RayActorError):  # type: ignore[misc]
    """The engine was silent, and then its process ended: its watchdog killed it because it hung."""


class NoLongerNeeded(Exception):
    """The engine is not worth waiting for; the message says why."""


@contextmanager
def engine_session(
    name: str,
    checkpoint: Checkpoint,
    engine: Engine,
    job_done: threading.Event | None = None,
    workload: Workload = EXPECTED,
) -> Iterator[LeasedEngine]:
    """A context with a leased engine of this name, which is started if there is none. A thread renews the lease.

    Idle engines are evicted for its GPU. With `job_done`, the engine is a replica: then no engine is evicted, and
    NoLongerNeeded is raised if no GPU has room for the replica, or if `job_done` is set first. A new engine chooses its
    settings for the `workload`.
    """
    token = f"{os.uname().nodename}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    has_gpu = gpus.has_gpus()
    share = engine.gpus
    short = has_gpu and ray.available_resources().get("GPU", 0) < share
    if job_done and not engine_exists(name):
        _check_still_needed(job_done)
        if short and not gpus.starts_nodes():
            raise NoLongerNeeded("no GPU has room for it")
    while True:
        existed = engine_exists(name)
        actor = request_actor(name, checkpoint, engine, has_gpu, token, workload)
        try:
            wait = gpus.GpuWait(share, "engine") if has_gpu else None
            with log_while_waiting(partial(_describe_wait, actor, has_gpu)):
                _wait_for_lease(actor, token, checkpoint, name if short and not job_done else None, job_done, wait)
            break
        except ENGINE_GONE as error:
            if not existed or DID_NOT_START in str(error):
                raise
            time.sleep(0.2)  # the engine was about to end, so this job has not lost an engine
    done = threading.Event()
    renewing = threading.Thread(target=_renew_lease, args=(actor, token, done), daemon=True)
    renewing.start()
    try:
        yield LeasedEngine(actor, token)
    except ENGINE_GONE as error:
        actor_id = getattr(error, "actor_id", None) or actor._actor_id.hex()  # the engine that is gone may be a replica
        raise _recognise_hang(error, _last_answer.get(actor_id, math.inf)) from error
    finally:
        done.set()
        _last_answer.pop(actor._actor_id.hex(), None)
        with suppress(*ENGINE_GONE, RayTaskError, GetTimeoutError):
            ray.get(actor.release.remote(token), timeout=LEASE_SECONDS)


def request_actor(
    name: str, checkpoint: Checkpoint, engine: Engine, has_gpu: bool, token: str, workload: Workload
) -> Any:
    """The engine of this name. Ray starts it for the checkpoint if there is none. Does not wait."""
    options: dict[str, Any] = {
        "name": name, "namespace": NAMESPACE, "lifetime": "detached", "get_if_exists": True,
        "max_concurrency": 2 * MAX_TASKS_IN_FLIGHT,
        "num_cpus": 1 if has_gpu else 0, "num_gpus": engine.gpus if has_gpu else 0,
        "runtime_env": build_runtime_env(engine_environment(engine, has_gpu)),
    }  # fmt: skip
    return ray.remote(WarmEngine).options(**options).remote(checkpoint, engine, has_gpu, token, workload)


def engine_exists(name: str) -> bool:
    """Whether an engine of this name runs or starts."""
    with suppress(ValueError):
        return bool(ray.get_actor(name, NAMESPACE))
    return False


def load_checkpoint(leased: LeasedEngine, job: EngineJob) -> tuple[Any, AskEngine]:
    """Have a leased engine load the job's checkpoint. Returns a reference to its load report, and an AskEngine.

    The engine renders tasks while it loads the weights. Afterwards it fetches the next checkpoint.
    """
    actor, token = leased
    report = actor.load_checkpoint.remote(token, job.checkpoint)
    if job.next_checkpoint:
        actor.fetch_ahead.remote(job.next_checkpoint, job.engine.base_model)
    return report, partial(actor.answer_task.remote, token, job.checkpoint.fingerprint)


def _wait_for_lease(
    actor: Any,
    token: str,
    checkpoint: Checkpoint,
    evict_for: str | None,
    job_done: threading.Event | None,
    wait: gpus.GpuWait | None,
) -> None:
    """Wait until the token has the lease: for room on a GPU, for the engine's start, for the end of another job.

    Raises EngineHung or Ray's error if the engine is gone, and NoLongerNeeded if `job_done` is set first.
    """
    fetch_requested, last_answer = False, time.monotonic()
    while True:
        request = actor.acquire.remote(token, LEASE_WAIT_S)
        try:
            while not ray.wait([request], timeout=0.5 if job_done else min(5, silence_limit() / 6))[0]:
                _check_still_needed(job_done)
                if not gpus.is_started(actor):
                    last_answer = time.monotonic()
                elif time.monotonic() - last_answer > driver_silence_limit():
                    kill_silent(actor)
                if (evict_for or wait) and not gpus.is_placed(actor):  # an engine that was started early has its GPU
                    if evict_for:
                        evict_idle(evict_for)
                    if wait:
                        wait.log_wait()
            try:
                acquired = ray.get(request)
            except ENGINE_GONE as error:
                raise _recognise_hang(error, last_answer) from error
            if acquired:
                return
            last_answer = time.monotonic()
            _check_still_needed(job_done)
        except (NoLongerNeeded, KeyboardInterrupt, SystemExit):
            ray.cancel(request)
            actor.release.remote(token)  # the engine may just have given the lease to this token
            if not gpus.is_placed(actor):
                ray.kill(actor)  # else Ray would start a node with a GPU that no job needs
            raise
        if not fetch_requested:
            log.info("engine: another job holds it; waiting")
            actor.fetch_ahead.remote(checkpoint.uri, checkpoint.base.uri if checkpoint.base else None)
            fetch_requested = True


def _describe_wait(actor: Any, has_gpu: bool) -> str:
    """The line that says what the driver waits for; empty while GpuWait logs the wait for a GPU."""
    if gpus.is_started(actor):
        return "engine: waiting for the job that holds it"
    if gpus.is_placed(actor):
        return "engine: waiting for vLLM to start"
    return "" if has_gpu else "engine: waiting for Ray to start its process"


def _check_still_needed(job_done: threading.Event | None) -> None:
    if job_done and job_done.is_set():
        raise NoLongerNeeded("the job was done before it was there")


def _renew_lease(actor: Any, token: str, done: threading.Event) -> None:
    """Renew the lease until `done`. Kill the engine if it does not answer, because it would keep its GPU for good."""
    last_answer = _last_answer[actor._actor_id.hex()] = time.monotonic()
    while not done.wait(min(LEASE_SECONDS, silence_limit()) / 6):
        with suppress(*ENGINE_GONE, GetTimeoutError):
            with suppress(RayTaskError):  # LeaseLost is an answer too
                ray.get(actor.renew.remote(token), timeout=min(LEASE_SECONDS, silence_limit()) / 6)
            last_answer = _last_answer[actor._actor_id.hex()] = time.monotonic()
        if time.monotonic() - last_answer > driver_silence_limit():
            kill_silent(actor)
            return


def _recognise_hang(error: Exception, last_answer: float) -> Exception:
    """EngineHung if the engine's own process ended after a silence; else the error itself."""
    process_ended = "worker process has died" in " ".join(str(error).split())
    return (
        EngineHung(error_msg=str(error))
        if process_ended and time.monotonic() - last_answer > silence_limit()
        else error
    )
