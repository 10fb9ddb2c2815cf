"""Holding a warm engine: find it by its name or start it, take the lease on it and keep that renewed, make room for it.

Used by a job's driver; what the engine itself does with a lease is in `warm_actor`.
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
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import ray
from ray.exceptions import GetTimeoutError, OutOfMemoryError, RayActorError, RayTaskError

from ray_jobs.contract.spec import Checkpoint
from ray_jobs.contract.suite import Engine
from ray_jobs.engine import gpus
from ray_jobs.engine.client.work_queue import MAX_TASKS_IN_FLIGHT
from ray_jobs.engine.protocol import EngineJob
from ray_jobs.engine.server.actor import WarmEngine
from ray_jobs.engine.server.lease import LEASE_SECONDS
from ray_jobs.engine.settings import engine_environment
from ray_jobs.engine.watchdog import silence_limit
from ray_jobs.runtime.waiting import tell_waiting

log = logging.getLogger("assay")

NAMESPACE, PREFIX = "assay-engines", "engine-"
ENGINE_GONE = (RayActorError, OutOfMemoryError)  # an actor is gone; the second where Ray ended it
DID_NOT_START = "creation task"  # what Ray says of one that did not start
EVICTION_ANSWER_S = 5.0  # seconds that an engine has to say whether it ends
LEASE_WAIT_S = (
    1.0  # seconds that one request for the lease waits: for a job that is gone it is not taken later than that
)

AskEngine = Callable[..., Any]  # asks an engine: a task's requests and the task in, a reference to its answers out


class LeasedEngine(NamedTuple):
    """An engine's actor, and the token of the lease on it."""

    actor: Any
    token: str


_silent_since: dict[Any, float] = {}  # since when an engine, by its actor's id, does not say whether it ends
_last_answer: dict[str, float] = {}  # when each engine that this job holds, by its actor's id, answered last


class EngineHung(RayActorError):  # type: ignore[misc]
    """The engine was silent and then its process ended, which is what its watchdog does to one that hangs."""


def driver_silence_limit() -> float:
    """Seconds after which a driver ends a silent engine. The watchdog ends one that hangs before that, so what is still
    there then runs, and only the way to it is broken: the network, or Ray's head."""
    return 2 * silence_limit()


class NoLongerNeeded(Exception):
    """The engine is not worth waiting for; the message says why."""


@contextmanager
def engine_session(
    name: str, checkpoint: Checkpoint, engine: Engine, over: threading.Event | None = None
) -> Iterator[LeasedEngine]:
    """The engine of this name, started where there is none, and the token of the lease on it, which is kept renewed.

    Others make room for it on a GPU, unless it is wanted only until `over`: then NotNeeded is raised when that comes
    first, or when there is no room.
    """
    token = f"{os.uname().nodename}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    gpu = gpus.has_gpus()
    share = engine.gpus
    short = gpu and ray.available_resources().get("GPU", 0) < share
    if over and not _exists(name):
        _check_still_needed(over)
        if short and not gpus.starts_nodes():
            raise NoLongerNeeded("no GPU has room for it")
    while True:
        there = _exists(name)
        actor = ray.remote(WarmEngine).options(
            name=name, namespace=NAMESPACE, lifetime="detached", get_if_exists=True, max_concurrency=2 *
            MAX_TASKS_IN_FLIGHT, num_cpus=1 if gpu else 0, num_gpus=share if gpu else 0, runtime_env={"env_vars":
            engine_environment(gpu)},
        ).remote(checkpoint, engine, gpu, token)  # fmt: skip
        try:
            wait = gpus.GpuWait(share, "engine") if gpu else None
            with tell_waiting(partial(_describe_wait, actor, gpu)):
                _wait_for_lease(actor, token, checkpoint, name if short and not over else None, over, wait)
            break
        except ENGINE_GONE as error:
            if not there or DID_NOT_START in str(error):
                raise
            time.sleep(0.2)  # it was about to end, whatever for: that is no death of an engine of ours
    done = threading.Event()
    renewing = threading.Thread(target=_renew_lease, args=(actor, token, done), daemon=True)
    renewing.start()
    try:
        yield LeasedEngine(actor, token)
    except ENGINE_GONE as error:
        who = getattr(error, "actor_id", None) or actor._actor_id.hex()  # it may be one of the further engines
        raise _recognise_hang(error, _last_answer.get(who, math.inf)) from error
    finally:
        done.set()
        _last_answer.pop(actor._actor_id.hex(), None)
        with suppress(*ENGINE_GONE, RayTaskError, GetTimeoutError):
            ray.get(actor.release.remote(token), timeout=LEASE_SECONDS)


def load_checkpoint(leased: LeasedEngine, job: EngineJob) -> tuple[Any, AskEngine]:
    """Have a leased engine load the job's checkpoint: a reference to its load report, and the way to ask the engine.

    Tasks that it gets before the weights are loaded are rendered meanwhile. Then it fetches the next checkpoint.
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
    make_room_for: str | None,
    over: threading.Event | None,
    wait: gpus.GpuWait | None,
) -> None:
    """Wait for the lease: for the engine to start, for another job to end, for room on a GPU."""
    told, answered = False, time.monotonic()
    while True:
        asked = actor.acquire.remote(token, LEASE_WAIT_S)
        try:
            while not ray.wait([asked], timeout=0.5 if over else min(5, silence_limit() / 6))[0]:
                _check_still_needed(over)
                if not gpus.is_started(actor):
                    answered = time.monotonic()
                elif time.monotonic() - answered > driver_silence_limit():
                    _kill_silent(actor)
                if make_room_for:
                    evict_idle(make_room_for)
                if wait and not gpus.is_placed(actor):
                    wait.tell()
            try:
                acquired = ray.get(asked)
            except ENGINE_GONE as error:
                raise _recognise_hang(error, answered) from error
            if acquired:
                return
            answered = time.monotonic()
            _check_still_needed(over)
        except (NoLongerNeeded, KeyboardInterrupt, SystemExit):
            ray.cancel(asked)
            actor.release.remote(token)  # which it may have got just now
            if not gpus.is_placed(actor):
                ray.kill(actor)  # else a node with a GPU would be started for nobody
            raise
        if not told:
            log.info("engine: another job holds it; waiting")
            actor.fetch_ahead.remote(checkpoint.uri, checkpoint.base.uri if checkpoint.base else None)
            told = True


def _describe_wait(actor: Any, gpu: bool) -> str:
    """What an engine is waited for; nothing where the wait for its GPU is told anyway."""
    if gpus.is_started(actor):
        return "engine: waiting for the job that holds it"
    if gpus.is_placed(actor):
        return "engine: waiting for vLLM to start"
    return "" if gpu else "engine: waiting for Ray to start its process"


def _check_still_needed(over: threading.Event | None) -> None:
    if over and over.is_set():
        raise NoLongerNeeded("the job was over before it was there")


def _exists(name: str) -> bool:
    with suppress(ValueError):
        return bool(ray.get_actor(name, NAMESPACE))
    return False


def _renew_lease(actor: Any, token: str, done: threading.Event) -> None:
    """Keep the lease, and end the engine if it does not answer: its GPU would be lost for good."""
    answered = _last_answer[actor._actor_id.hex()] = time.monotonic()
    while not done.wait(min(LEASE_SECONDS, silence_limit()) / 6):
        with suppress(*ENGINE_GONE, GetTimeoutError):
            with suppress(RayTaskError):  # an answer as well: the lease is lost
                ray.get(actor.renew.remote(token), timeout=min(LEASE_SECONDS, silence_limit()) / 6)
            answered = _last_answer[actor._actor_id.hex()] = time.monotonic()
        if time.monotonic() - answered > driver_silence_limit():
            _kill_silent(actor)
            return


def _recognise_hang(error: Exception, answered: float) -> Exception:
    """Hung when the engine's own process ended and it had been silent before; else the error itself."""
    process_ended = "worker process has died" in " ".join(str(error).split())
    return (
        EngineHung(error_msg=str(error)) if process_ended and time.monotonic() - answered > silence_limit() else error
    )


def _kill_silent(actor: Any) -> None:
    log.warning("engine: it did not answer for %g s; it is ended, so that its GPU is free", driver_silence_limit())
    ray.kill(actor)


@contextmanager
def repeated_eviction(wanted: float, who: str) -> Iterator[None]:
    """Within it idle engines give up their GPUs, again and again, because an engine may be held now and idle later.

    Leave it as soon as the GPU is there: until then it also says in the log that `who` waits for so many GPUs.
    """
    enough, wait = threading.Event(), gpus.GpuWait(wanted, who)

    def make() -> None:
        while not enough.is_set():
            evict_idle()
            if not enough.wait(5) and ray.available_resources().get("GPU", 0) < wanted:
                wait.tell()

    if gpus.has_gpus():
        threading.Thread(target=make, daemon=True).start()
    try:
        yield
    finally:
        enough.set()


Item = TypeVar("Item")


def evict_until_first(items: Iterator[Item], wanted: float, who: str) -> Iterator[Item]:
    """The same items; room on GPUs is made until the first of them is there."""
    with repeated_eviction(wanted, who):
        first = list(islice(items, 1))
    yield from first
    yield from items


def evict_idle(name: str = "") -> None:
    """End the engines that nobody holds, but for the one of this name: they keep a GPU that somebody waits for."""
    if not gpus.has_gpus():
        return
    for listed in ray.util.list_named_actors(all_namespaces=True):
        if listed["namespace"] == NAMESPACE and listed["name"] != name:
            with suppress(ValueError, *ENGINE_GONE):
                _evict_if_idle(ray.get_actor(listed["name"], NAMESPACE))


def _evict_if_idle(actor: Any) -> None:
    """Have the engine end if it is idle, now or never: the request is taken back where it is not answered soon."""
    if not gpus.is_started(actor):
        return
    asked, since = actor.evict.remote(), _silent_since.setdefault(actor._actor_id, time.monotonic())
    try:
        ray.get(asked, timeout=EVICTION_ANSWER_S)
        del _silent_since[actor._actor_id]
    except GetTimeoutError:
        ray.cancel(asked)
        if time.monotonic() - since > driver_silence_limit():
            _kill_silent(actor)
