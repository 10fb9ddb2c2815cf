"""Starts further engines of one job. Each gets its share of the work once it is ready. The job waits for none of them.

The job's driver uses it. Its threads start the engines one after the other, after the first engine, because vLLM
measures the GPU's memory while it starts.
"""

import logging
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import NamedTuple

import ray
from ray.exceptions import RayTaskError

from ray_jobs.engine.client.eviction import ENGINE_GONE
from ray_jobs.engine.client.session import AskEngine, NoLongerNeeded, engine_session, load_checkpoint
from ray_jobs.engine.protocol import EngineJob

log = logging.getLogger("assay")


class Replica(NamedTuple):
    """A further engine that has loaded the checkpoint. `warm`: the engine was running before this job."""

    ask: AskEngine
    warm: bool


class ReplicaPool:
    """A context: within it, the engines of these names are found or started, load the checkpoint, and stay leased."""

    def __init__(self, names: Sequence[str], job: EngineJob) -> None:
        self._job = job
        self._ready, self._one_at_a_time = SimpleQueue[Replica](), threading.Lock()
        self._started, self._job_done = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=self._run_replica, args=(name,), daemon=True) for name in names]

    def __enter__(self) -> "ReplicaPool":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._job_done.set()
        self._started.set()
        for thread in self._threads:
            thread.join(10)

    @property
    def has_pending(self) -> bool:
        """Whether a replica may still become ready."""
        return any(thread.is_alive() for thread in self._threads)

    def start(self) -> None:
        """Start the replicas. Call it once the job has its first engine, because no replica may take that GPU."""
        self._started.set()

    def take_ready(self) -> list[Replica]:
        """The replicas that have become ready since the last call."""
        replicas = []
        try:
            while True:
                replicas.append(self._ready.get_nowait())
        except Empty:
            return replicas

    def _run_replica(self, name: str) -> None:
        try:
            self._started.wait()
            with ExitStack() as stack:
                with self._one_at_a_time:
                    session = engine_session(
                        name, self._job.checkpoint, self._job.engine, self._job_done, self._job.workload
                    )
                    leased = stack.enter_context(session)
                reference, ask = load_checkpoint(leased, self._job)
                load = ray.get(reference)
                log.info("engine: one more, %s in %.2f s", load["reason"], load["seconds"])
                self._ready.put(Replica(ask, load["warm"]))
                self._job_done.wait()
        except (NoLongerNeeded, RayTaskError, *ENGINE_GONE) as error:
            cause = error.cause if isinstance(error, RayTaskError) else error
            log.info("engine: going on without one more: %s", " ".join(str(cause).split())[:300])
