"""Starts an engine for a later job while this job works, so that the later job finds it.

The drivers of `preprocess` (for the captions' engine) and `caption` (for the judge's) call it. A thread requests the
actor by its name, without a lease. If no job leases the engine, it ends after `keep_seconds`. Only a GPU that is free
now is taken: no engine is evicted, no node is started, and the job waits for nothing. A fault is only one line of the
log, because the later job starts its engine in any case. On a cluster without GPUs nothing is started, because the
start would take the cores from this job.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, NamedTuple

import ray

from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.engine import gpus
from ray_jobs.engine.chosen_settings import Workload
from ray_jobs.engine.client.session import PREFIX, engine_exists, request_actor
from ray_jobs.engine.client.warm import engine_key, why_not_warm

log = logging.getLogger("assay")

PLACE_SECONDS = 30.0  # within which Ray must give the engine its process; then the request is withdrawn
POLL_S = 0.5
FEW_IMAGES = 20_000  # golden images that are made well within an engine's `keep_seconds`


class EngineNeeded(NamedTuple):
    """The engine that a later job will ask for. `check` raises if no engine should load the checkpoint's files."""

    checkpoint: Checkpoint
    engine: Engine
    workload: Workload
    check: Callable[[], None]


class EarlyStart:
    """A context of a job within which an engine may be started early. It ends at once, also while the engine starts.

    `whose` says in the log whose engine it is. The thread calls `find_need`, which returns None if no job needs one.
    """

    def __init__(self, whose: str, find_need: Callable[[], EngineNeeded | None]) -> None:
        self._whose, self._find_need = whose, find_need
        self._lock, self._allowed, self._job_done = threading.Lock(), threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._actor: Any = None

    def __enter__(self) -> "EarlyStart":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._job_done.set()
        self._allowed.set()  # so that the thread ends
        self._withdraw()

    def start(self) -> None:
        """Start the engine, in a thread. Does nothing after the first call."""
        self._allowed.set()
        self.prepare()

    def prepare(self) -> None:
        """Have the thread check the checkpoint's files, and wait for `start`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True, name="early-start")
            self._thread.start()

    def start_if_few(self, rows_left: int) -> None:
        """Start the engine if so few images are left to be read that the engine will not idle for long."""
        if rows_left <= FEW_IMAGES:
            self.start()

    def _run(self) -> None:
        try:
            line = self._start()
        except Exception as error:
            line = f"is not started early: {' '.join(str(error).split())[:300]}"
            self._withdraw()
        if line and not self._job_done.is_set():
            log.info("engine: that of the %s %s", self._whose, line)

    def _start(self) -> str:
        """Request the engine, and see that Ray gives it its process. Returns the line for the log; empty for none."""
        if not gpus.has_gpus() or (need := self._find_need()) is None:
            return ""
        checkpoint, engine, workload, check = need
        if engine.kind != "warm" or why_not_warm(checkpoint, engine):
            return ""
        name = PREFIX + engine_key(checkpoint, engine)
        if engine_exists(name):
            return ""
        no_room = "is not started early: no GPU has room for it now"
        check()
        self._allowed.wait()
        with self._lock:
            if self._job_done.is_set() or not _has_room(engine):
                return no_room
            self._actor = request_actor(name, checkpoint, engine, True, f"early-{uuid.uuid4().hex[:8]}", workload)
        end = time.monotonic() + PLACE_SECONDS
        while not gpus.is_placed(self._actor):
            if time.monotonic() > end:
                self._withdraw()
                return no_room
            if self._job_done.wait(POLL_S):
                return ""
        self._actor.wait_for_job.remote()  # Ray sends it when the engine has started, if this job still runs then
        return f"starts early, with {engine.gpus:g} GPU"

    def _withdraw(self) -> None:
        """Withdraw the request, unless the engine has its process. Else Ray would start it long after this job."""
        with self._lock, suppress(Exception):
            if self._actor is not None and not gpus.is_placed(self._actor):
                ray.kill(self._actor)
                self._actor = None


def _has_room(engine: Engine) -> bool:
    return bool(ray.available_resources().get("GPU", 0) >= engine.gpus)
