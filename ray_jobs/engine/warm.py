"""Asking a warm engine: find the one that can serve this checkpoint or start it, hold it, hand it the weights, ask.

An engine is a named, detached Ray actor, so it outlives this job: the next checkpoint of the same training run finds it
and pays for a change of weights instead of a start. What a dead engine left unanswered is asked again of a new one; a
row of which engines keep dying is found by halving what was asked at once, and set aside.
"""

import hashlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from ray_jobs.checkpoint import quantisation
from ray_jobs.contract import Checkpoint, Engine, Trouble, digest
from ray_jobs.engine.asked import Answer, Requests, Served, Task
from ray_jobs.engine.explained import STARTS, explain
from ray_jobs.engine.lease import SECONDS, Lost
from ray_jobs.engine.likeness import likeness
from ray_jobs.engine.remaining import MOST_AT_ONCE, Remaining
from ray_jobs.engine.settings import environment
from ray_jobs.engine.warm_actor import Dead, Doubt, WarmEngine

log = logging.getLogger("assay")

NAMESPACE, PREFIX = "assay-engines", "engine-"


def unfit(checkpoint: Checkpoint, engine: Engine) -> str | None:
    """Why weights are not swapped for such an engine and checkpoint, None when they are."""
    if engine.tensor_parallel_size > 1:
        return "the model is spread over several GPUs"
    if engine.replicas > 1:
        return "several replicas are asked for"
    if engine.quantization:
        return f"the weights are quantised ({engine.quantization})"
    if method := quantisation((checkpoint.base or checkpoint).uri):
        return f"the checkpoint is quantised ({method})"
    return None


def ask(
    checkpoint: Checkpoint, engine: Engine, tasks: list[Task], requests: Requests, served: Served
) -> Iterator[list[Answer]]:
    """Answers task by task as they come. Raises Trouble when engines keep dying, what vLLM raises when it cannot start.

    What the engine was to this job is left in `served`.
    """
    name, left = PREFIX + identity(checkpoint, engine), Remaining(tasks, 2 * engine.max_num_seqs)
    while True:
        try:
            with _held(name, checkpoint, engine) as (actor, token):
                _tell(served, ray.get(actor.serve.remote(token, checkpoint)))
                yield from _asked(partial(actor.answer.remote, token, checkpoint.fingerprint), requests, left, served)
                return
        except (RayTaskError, RayActorError) as error:
            if isinstance(error, RayTaskError) and isinstance(error.cause, Lost):
                log.warning("engine: %s; asking for it again", error.cause)
                left.lost()
                if left.unexplained <= STARTS:
                    continue
            if (gone := _gone(error)) is None:
                if (explained := explain(error, checkpoint.uri)) is error:
                    raise
                raise explained from error
        if set_aside := left.died(gone):
            yield [set_aside]
        if left.unexplained > STARTS:
            raise Trouble(f"checkpoint {checkpoint.uri}: the engine died {left.deaths} times; last: {gone}")
        served.told = f"a fresh engine, for {gone}"
        log.warning("engine: %s; going on with a fresh one", gone)


def identity(checkpoint: Checkpoint, engine: Engine) -> str:
    """Checkpoints and settings with one identity can be served by one engine."""
    package = Path(__file__).parents[1]
    code = [(str(file.relative_to(package)), hashlib.sha256(file.read_bytes()).hexdigest())
            for file in sorted(package.rglob("*.py"))]  # fmt: skip
    vllm = packages_distributions()["vllm"][0]
    versions = [version(name) for name in (vllm, "ray", "torch", "transformers")]
    settings = engine.model_dump(exclude={"kind", "keep_seconds", "base_model"})
    return digest(likeness(checkpoint), settings, code, versions, "GPU" in ray.cluster_resources())


def _asked(answer: Callable[..., Any], requests: Requests, left: Remaining, served: Served) -> Iterator[list[Answer]]:
    shared = ray.put(requests)
    running: dict[Any, Task] = {}
    while True:
        while task := left.next():
            running[answer(shared, task)] = task
        if not running:
            return
        (ready,), _ = ray.wait(list(running), num_returns=1)
        answers: list[Answer] = ray.get(ready)
        left.answered(running.pop(ready))
        for one in answers:
            for what in ("render", "queue", "prefill", "decode"):
                served.spent[what] = served.spent.get(what, 0.0) + one.pop(what, 0.0)
        yield answers


@contextmanager
def _held(name: str, checkpoint: Checkpoint, engine: Engine) -> Iterator[tuple[Any, str]]:
    """The engine of this name, started where there is none, and the token of the lease on it, which is kept renewed."""
    token = f"{os.uname().nodename}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    gpu = "GPU" in ray.cluster_resources()
    share = 1.0 if engine.gpu_memory_utilization > 0.5 else engine.gpu_memory_utilization
    short = gpu and ray.available_resources().get("GPU", 0) < share
    actor = ray.remote(WarmEngine).options(
        name=name, namespace=NAMESPACE, lifetime="detached", get_if_exists=True, max_concurrency=2 * MOST_AT_ONCE,
        num_cpus=1 if gpu else 0, num_gpus=share if gpu else 0, runtime_env={"env_vars": environment(gpu)},
    ).remote(checkpoint, engine, gpu)  # fmt: skip
    _acquire(actor, token, name if short else None)
    done = threading.Event()
    renewing = threading.Thread(target=_renew, args=(actor, token, done), daemon=True)
    renewing.start()
    try:
        yield actor, token
    finally:
        done.set()
        with suppress(RayActorError, RayTaskError, GetTimeoutError):
            ray.get(actor.release.remote(token), timeout=SECONDS)


def _acquire(actor: Any, token: str, make_room_for: str | None) -> None:
    """Wait for the lease: for the engine to start, for another job to end, for room on a GPU."""
    told = False
    while True:
        asked = actor.acquire.remote(token)
        while not ray.wait([asked], timeout=5)[0]:
            if make_room_for:
                make_room(make_room_for)
        if ray.get(asked):
            return
        if not told:
            log.info("engine: another job holds it; waiting")
            told = True
        time.sleep(1)


def _renew(actor: Any, token: str, done: threading.Event) -> None:
    while not done.wait(SECONDS / 6):
        with suppress(RayActorError, RayTaskError, GetTimeoutError):
            ray.get(actor.renew.remote(token), timeout=SECONDS / 6)


def make_room(name: str = "") -> None:
    """End the engines that nobody holds, but for this one: they keep a GPU that somebody waits for."""
    if "GPU" not in ray.cluster_resources():
        return
    for one in ray.util.list_named_actors(all_namespaces=True):
        if one["namespace"] == NAMESPACE and one["name"].startswith(PREFIX) and one["name"] != name:
            with suppress(ValueError, RayActorError, GetTimeoutError):
                ray.get(ray.get_actor(one["name"], NAMESPACE).evict.remote(time.time() + 5), timeout=5)


def _gone(error: RayTaskError | RayActorError) -> str | None:
    """Why the engine is gone, in words; None when another one would meet the same."""
    if isinstance(error, RayTaskError):
        return str(error.cause) if isinstance(error.cause, Doubt | Dead | Lost) else None
    text = " ".join(str(error).split())
    return None if "creation task" in text else f"the engine's process died: {text[:200]}"


def _tell(served: Served, report: dict[str, Any]) -> None:
    served.kind, served.warm, served.swap = "warm", report["warm"], report["seconds"]
    served.told = served.told or report["told"]
    log.info("engine: %s, %s in %.2f s", "warm" if report["warm"] else "new", report["told"], report["seconds"])
