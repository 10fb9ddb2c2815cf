"""Has idle engines end, so that a job that waits for a GPU gets theirs.

The drivers of jobs and of audits call it. An engine that is leased, or that a job waits for, is never evicted.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, TypeVar

import ray
from ray.exceptions import GetTimeoutError, OutOfMemoryError, RayActorError

from ray_jobs.engine import gpus
from ray_jobs.engine.watchdog import silence_limit

log = logging.getLogger("assay")

NAMESPACE = "assay-engines"  # Ray's namespace of all engines
ENGINE_GONE = (RayActorError, OutOfMemoryError)  # OutOfMemoryError: Ray killed the actor for its memory
EVICTION_ANSWER_S = 5.0  # seconds within which an engine must say whether it ends
EVICTION_INTERVAL_S = 5.0  # seconds between two rounds, because an engine that is leased now may be idle later

_silent_since: dict[Any, float] = {}  # by actor id: the time of the first request that the engine left unanswered

Item = TypeVar("Item")


def driver_silence_limit() -> float:
    """Seconds of silence after which a driver kills an engine.

    The watchdog kills an engine that hangs before that. So an engine that still exists is running, and the network or
    Ray's head is broken.
    """
    return 2 * silence_limit()


def kill_silent(actor: Any) -> None:
    """Kill an engine that does not answer, so that its GPU is free."""
    log.warning("engine: it did not answer for %g s; it is ended, so that its GPU is free", driver_silence_limit())
    ray.kill(actor)


@contextmanager
def evict_repeatedly(wanted: float, waiting: str) -> Iterator[None]:
    """A context: within it, a thread evicts idle engines every few seconds. Leave it as soon as the job has its GPU.

    Meanwhile the log says that `waiting` waits for `wanted` GPUs.
    """
    done, wait = threading.Event(), gpus.GpuWait(wanted, waiting)

    def evict() -> None:
        while not done.is_set():
            evict_idle()
            if not done.wait(EVICTION_INTERVAL_S) and ray.available_resources().get("GPU", 0) < wanted:
                wait.log_wait()

    if gpus.has_gpus():
        threading.Thread(target=evict, daemon=True).start()
    try:
        yield
    finally:
        done.set()


def evict_until_first(items: Iterator[Item], wanted: float, waiting: str) -> Iterator[Item]:
    """Yield the same items. Idle engines are evicted until the first item has come."""
    with evict_repeatedly(wanted, waiting):
        first = list(islice(items, 1))
    yield from first
    yield from items


def evict_idle(except_name: str = "") -> None:
    """Have all idle engines end, except the named one. Does nothing on a cluster without GPUs."""
    if not gpus.has_gpus():
        return
    for actor_entry in ray.util.list_named_actors(all_namespaces=True):
        if actor_entry["namespace"] == NAMESPACE and actor_entry["name"] != except_name:
            with suppress(ValueError, *ENGINE_GONE):
                _evict_if_idle(ray.get_actor(actor_entry["name"], NAMESPACE))


def _evict_if_idle(actor: Any) -> None:
    """Have the engine end if it is idle. Cancels the request if the engine does not answer within EVICTION_ANSWER_S."""
    if not gpus.is_started(actor):
        return
    request, since = actor.evict.remote(), _silent_since.setdefault(actor._actor_id, time.monotonic())
    try:
        ray.get(request, timeout=EVICTION_ANSWER_S)
        del _silent_since[actor._actor_id]
    except GetTimeoutError:
        ray.cancel(request)
        if time.monotonic() - since > driver_silence_limit():
            kill_silent(actor)
