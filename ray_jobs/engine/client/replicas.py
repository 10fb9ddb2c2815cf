"""Further engines of a job: each has its share of the work from the moment it is there, and none is waited for.

They are begun when the first one is there, one after the other: vLLM measures the GPU's memory while it starts.
"""

import logging
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from queue import Empty, SimpleQueue
from types import TracebackType

import ray
from ray.exceptions import RayTaskError

from ray_jobs.contract.spec import Checkpoint
from ray_jobs.contract.suite import Engine
from ray_jobs.engine.client.session import ENGINE_GONE, AskEngine, NoLongerNeeded, engine_session, load_checkpoint
from ray_jobs.engine.protocol import EngineReport

log = logging.getLogger("assay")


class ReplicaPool:
    """Within it engines of these names are found or started, handed the checkpoint, and kept until it ends.

    They fetch the checkpoint that is `following` meanwhile.
    """

    def __init__(
        self, names: Sequence[str], checkpoint: Checkpoint, engine: Engine, served: EngineReport, following: str | None
    ) -> None:
        self._checkpoint, self._engine, self._served, self._following = checkpoint, engine, served, following
        self._there, self._turn = SimpleQueue[AskEngine](), threading.Lock()
        self._begun, self._over = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=self._serve, args=(name,), daemon=True) for name in names]

    def __enter__(self) -> "ReplicaPool":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._begun.set()
        for thread in self._threads:
            thread.join(10)

    @property
    def pending(self) -> bool:
        """Whether one may still come."""
        return any(thread.is_alive() for thread in self._threads)

    def begin(self) -> None:
        """To be called when the job holds its first engine, for which none of these may take a GPU away."""
        self._begun.set()

    def take_ready(self) -> list[AskEngine]:
        """Those that are there since the last call."""
        found = []
        try:
            while True:
                found.append(self._there.get_nowait())
        except Empty:
            return found

    def _serve(self, name: str) -> None:
        try:
            self._begun.wait()
            with ExitStack() as stack:
                with self._turn:
                    engine = engine_session(name, self._checkpoint, self._engine, self._over)
                    there = stack.enter_context(engine)
                reported, answering = load_checkpoint(there, self._checkpoint, self._engine, self._following)
                report = ray.get(reported)
                log.info("engine: one more, %s in %.2f s", report["told"], report["seconds"])
                if report["warm"]:
                    self._served.swapped = True
                self._there.put(answering)
                self._over.wait()
        except (NoLongerNeeded, RayTaskError, *ENGINE_GONE) as error:
            why = error.cause if isinstance(error, RayTaskError) else error
            log.info("engine: going on without one more: %s", " ".join(str(why).split())[:300])
