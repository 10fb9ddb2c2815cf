"""Streams a job's answers from warm engines: finds or starts them, leases them, has them load the checkpoint.

The job's driver calls it. An engine is a named, detached Ray actor, so it outlives this job. The job of the next
checkpoint of a training run finds the engine and swaps weights instead of starting vLLM. If an engine dies, the rows
that it left unanswered go to a new engine. If engines keep dying of a row, the work queue halves the tasks until it has
found the row, and quarantines it.
"""

import hashlib
import logging
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError

from ray_jobs.checkpoints.quantization import quantization_method
from ray_jobs.contract.ids import digest
from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.engine import gpus
from ray_jobs.engine.chosen_settings import max_sequences
from ray_jobs.engine.client.eviction import ENGINE_GONE, driver_silence_limit
from ray_jobs.engine.client.replicas import ReplicaPool
from ray_jobs.engine.client.session import (
    DID_NOT_START,
    PREFIX,
    AskEngine,
    EngineHung,
    engine_session,
    load_checkpoint,
)
from ray_jobs.engine.client.work_queue import WorkQueue
from ray_jobs.engine.compatibility import compatibility_key
from ray_jobs.engine.errors import MAX_RESTARTS, classify_error
from ray_jobs.engine.protocol import Answer, AnswerBlock, EngineJob, EngineReport, Requests, Task
from ray_jobs.engine.server.actor import EngineDead
from ray_jobs.engine.server.lease import LeaseLost
from ray_jobs.engine.server.weight_swap import WeightsUnverified
from ray_jobs.engine.settings import max_tasks_rendering
from ray_jobs.engine.versions import read_versions
from ray_jobs.engine.watchdog import silence_limit
from ray_jobs.inputs.errors import InputError, RetryableError

log = logging.getLogger("assay")

PHASES = ("render", "queue", "prefill", "decode")  # of a request
ROWS_AHEAD = 4  # rows in flight per sequence that vLLM runs at once: all rows of a task in flight count


def why_not_warm(checkpoint: Checkpoint, engine: Engine) -> str | None:
    """Why a warm engine cannot serve this checkpoint with these settings; None if it can."""
    if (size := engine.tensor_parallel_size) > 1:
        most = gpus.max_gpus_per_node()
        if 0 < most < size:  # Ray Data can spread the model over several nodes
            return f"no node has the {size} GPUs that the model is spread over"
    if engine.quantization:
        return f"the weights are quantised ({engine.quantization})"
    if method := quantization_method((checkpoint.base or checkpoint).uri):
        return f"the checkpoint is quantised ({method})"
    return None


def stream_answers(job: EngineJob) -> Iterator[AnswerBlock]:
    """The job's answers, task by task, as they come.

    Raises InputError if two engines hung, RetryableError if engines keep dying, and else the error that
    `classify_error` returns.
    """
    checkpoint, engine = job.checkpoint, job.engine
    queue, report = build_work_queue(job.tasks, engine, gpus.has_gpus()), EngineReport(kind="warm")
    name = PREFIX + engine_key(checkpoint, engine)
    replicas = [f"{name}-{number}" for number in range(2, min(engine.replicas, len(job.tasks)) + 1)]
    hangs, silences = 0, 0
    while True:
        try:
            with (
                ReplicaPool(replicas, job) as pool,
                engine_session(name, checkpoint, engine, workload=job.workload) as leased,
            ):
                pool.start()
                load, ask = load_checkpoint(leased, job)
                for block in _stream_from_engines(load, ask, pool, job.requests, queue, report):
                    report = block.report
                    yield block
                with suppress(RayTaskError, *ENGINE_GONE):  # every row is answered, so a dead engine does not matter
                    report = report.add_seconds(ray.get(leased.actor.gpu_seconds.remote(leased.token)))
            yield AnswerBlock([], report)
            return
        except (RayTaskError, *ENGINE_GONE) as error:
            if isinstance(error, RayTaskError) and isinstance(error.cause, LeaseLost):
                log.warning("engine: %s; asking for it again", error.cause)
                queue.on_lease_lost()
                if queue.unexplained_deaths <= MAX_RESTARTS:
                    continue
            engine_error = error
            if (reason := _death_reason(error)) is None:
                if (explained := classify_error(error, checkpoint.uri)) is error:
                    raise
                raise explained from error
        hangs += isinstance(engine_error, EngineHung)
        silences += _is_silence_kill(engine_error)
        if hangs > 1:
            raise InputError(
                f"checkpoint {checkpoint.uri}: {hangs} engines that served it did not answer for "
                f"{silence_limit():g} s: its chat template, tokenizer or processor computes without an end; "
                "mend these files"
            )
        if silences > 1:
            raise RetryableError(
                f"checkpoint {checkpoint.uri}: {silences} engines that served it did not answer for "
                f"{driver_silence_limit():g} s, but did not hang; look at the network and at Ray's head, then try again"
            )
        if quarantined := queue.on_engine_death(reason):
            yield AnswerBlock([quarantined], report)
        if queue.is_done:  # else a new engine would start without work
            return
        if queue.unexplained_deaths > MAX_RESTARTS:
            raise RetryableError(
                f"checkpoint {checkpoint.uri}: the engine died {queue.deaths} times (last: {reason}); "
                "look at the engine's log on Ray"
            )
        report = replace(report, reason=f"a fresh engine, for {reason}")
        log.warning("engine: %s; going on with a fresh one", reason)


def build_work_queue(tasks: list[Task], engine: Engine, has_gpu: bool) -> WorkQueue:
    """A queue of all tasks. Each engine gets at most its share at once, because one is ready before the others."""
    engines, rows = max(1, min(engine.replicas, len(tasks))), sum(len(task["rows"]) for task in tasks)
    tasks_rendered_or_next = 2 * max_tasks_rendering(engine, has_gpu)
    return WorkQueue(
        tasks,
        tasks_at_once=min(tasks_rendered_or_next, math.ceil(len(tasks) / engines)),
        rows_at_once=min(ROWS_AHEAD * max_sequences(engine, has_gpu), math.ceil(rows / engines)),
    )


def engine_key(checkpoint: Checkpoint, engine: Engine) -> str:
    """A hash of the checkpoint without its values, the settings, the code and the versions.

    One engine can serve all checkpoints and settings with the same key.
    """
    package = Path(__file__).parents[2]
    code = [(str(file.relative_to(package)), hashlib.sha256(file.read_bytes()).hexdigest())
            for file in sorted(package.rglob("*.py"))]  # fmt: skip
    settings = engine.model_dump(exclude={"kind", "keep_seconds", "replicas", "audit", "base_model"})
    return digest(compatibility_key(checkpoint), settings, code, read_versions(), gpus.has_gpus())


def _stream_from_engines(
    load: Any, ask: AskEngine, pool: ReplicaPool, build_requests: Requests, queue: WorkQueue, report: EngineReport
) -> Iterator[AnswerBlock]:
    """Answers of this engine and of the replicas that join it, until no task is in flight. The first block is empty.

    `load` is the reference to the report of this engine, which is loading the checkpoint.
    """
    requests, open_rows = ray.put(build_requests), {ask: 0}  # rows in flight, by engine
    running: dict[Any, tuple[AskEngine, Task]] = {}

    def submit_tasks() -> None:
        while task := queue.next_task(len(open_rows)):
            engine = min(open_rows, key=open_rows.__getitem__)
            open_rows[engine] += len(task["rows"])
            running[engine(requests, task)] = engine, task

    if not queue.deaths:  # else rows that are rendered during a failed weight swap would become suspects
        submit_tasks()
    report = _add_load(report, ray.get(load))
    yield AnswerBlock([], report)
    submit_tasks()
    while running:
        for ready in ray.wait(list(running), num_returns=1, timeout=0.5 if pool.has_pending else None)[0]:
            answers: list[Answer] = ray.get(ready)
            engine, task = running.pop(ready)
            open_rows[engine] -= len(task["rows"])
            queue.on_answer(task)
            for answer in answers:
                report = report.add_seconds({phase: answer.pop(phase, 0.0) for phase in PHASES})
            yield AnswerBlock(answers, report)
        for replica in pool.take_ready():
            open_rows[replica.ask] = 0
            report = replace(report, weights_swapped=report.weights_swapped or replica.warm)
        submit_tasks()


def _add_load(report: EngineReport, load: dict[str, Any]) -> EngineReport:
    """The report after the job's first engine has loaded the weights. The reason for a restart stays."""
    log.info("engine: %s, %s in %.2f s", "warm" if load["warm"] else "new", load["reason"], load["seconds"])
    if load["choice"]:
        log.info("engine: %s", load["choice"])
    return replace(
        report,
        warm=load["warm"],
        reason=report.reason or load["reason"],
        swap_seconds=load["seconds"],
        weights_swapped=report.weights_swapped or load["warm"],
    )


def _death_reason(error: Exception) -> str | None:
    """Why the engine is gone, in words; None if a new engine would fail in the same way."""
    if isinstance(error, RayTaskError):
        return str(error.cause) if isinstance(error.cause, WeightsUnverified | EngineDead | LeaseLost) else None
    text = " ".join(str(error).split())
    if isinstance(error, EngineHung):
        return f"the engine hung: it did not answer for {silence_limit():g} s and was ended by its watchdog"
    if _is_silence_kill(error):
        return f"the engine did not answer for {driver_silence_limit():g} s"
    return None if DID_NOT_START in text else f"the engine's process died: {text[:200]}"


def _is_silence_kill(error: Exception) -> bool:
    """Whether a driver killed the running engine for its silence. Drivers kill a running engine for no other reason."""
    return "killed by `ray.kill`" in str(error) and "never ran" not in str(error)
