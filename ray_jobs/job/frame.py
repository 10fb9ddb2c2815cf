"""The frame around every job: read the spec, do the work, and end with an exit code for Airflow.

Each stage's program calls `run` in the job's driver, and `join_cluster` when it has work for Ray. Exit 0: the stage is
complete. Exit 2: bad input, a retry cannot help. Exit 1: trouble, a retry may succeed. A failing job writes
`failure.json` into the run's folder, with the same line that it prints.
"""

import atexit
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime

import ray

from ray_jobs.checkpoints.errors import Incomplete
from ray_jobs.checkpoints.verification import check_present
from ray_jobs.contract.artifacts import Failure
from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.inputs.names import printable
from ray_jobs.job import handshake
from ray_jobs.job.ray_address import find_ray
from ray_jobs.job.shared_folders import require_shared
from ray_jobs.judge.destination import check_destination
from ray_jobs.planning.suite_files import check_code
from ray_jobs.runtime.waiting import log_while_waiting
from ray_jobs.storage import json_files
from ray_jobs.storage.specs import load_spec
from ray_jobs.storage.store_probe import require_conditional_create

log = logging.getLogger("assay")

BAD_INPUT, TROUBLE = 2, 1
MESSAGE_CHARACTERS = 4000


def run(stage: str, work: Callable[[Spec], None], spec_uri: str) -> int:
    """Run `work` on the spec at the URI. Returns the exit code, also when `work` raises an exception."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stdout)
    log.setLevel(logging.INFO)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # the driver's own imports of vLLM log nothing useful
    failure_uri, spec = None, None
    started = time.monotonic()
    try:
        handshake.check()
        spec = load_spec(spec_uri)
        failure_uri = f"{spec.run_uri}/failure.json"
        json_files.remove(failure_uri)
        log.info("%s: checkpoint %s, suite %s, run %s", stage, spec.checkpoint.uri, spec.suite.name, spec.run_uri)
        check_code(spec)
        check_destination(spec.suite.judge)
        require_conditional_create(spec.root)
        work(spec)
    except Exception as error:
        return _report(stage, _say_what_was_deleted(spec, error), failure_uri)
    log.info("%s: complete in %.1f s", stage, time.monotonic() - started)
    return 0


def join_cluster(spec: Spec) -> None:
    """Join the Ray cluster, whose nodes must all see the directories that the spec names.

    A stage calls it before its first work on Ray. A stage with nothing to do starts no Ray. Raises what `connect` and
    `require_shared` raise.
    """
    connect()
    require_shared(spec)


def connect() -> None:
    """Join the cluster that RAY_ADDRESS names, or start one here. Raises RetryableError if Ray does not answer.

    A process that has joined a cluster stays in it: `assay run` does its stages in one process.
    """
    if ray.is_initialized():
        if os.environ.get("RAY_ADDRESS"):
            find_ray()  # its head may have died since the stage before
        return
    address = find_ray()
    # The code that waits for an engine reports the engine's end itself, and the last line of the log is to be ours.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    try:
        # Nobody looks at a cluster that ends with us.
        options = {"include_dashboard": False} if address == "local" else {}
        workers_logs = os.environ.get("ASSAY_WORKER_LOGS", "") == "1"
        with log_while_waiting(lambda: f"waiting for Ray at {address or 'this machine'}"):
            ray.init(address, logging_level=logging.WARNING, log_to_driver=workers_logs, **options)
        if not workers_logs:
            atexit.register(ray.shutdown)  # before Ray's own, which waits half a second for these logs
    except OSError as error:
        raise RetryableError(
            f"Ray at {address} does not answer: {' '.join(str(error).split())}; is the head up?"
        ) from error


def cause(error: BaseException) -> BaseException:
    """Returns the InputError, Incomplete or RetryableError that Ray wrapped, or the error itself."""
    seen: set[int] = set()
    queue: list[BaseException | None] = [error]
    while queue:
        current = queue.pop(0)
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, InputError | Incomplete | RetryableError) and not isinstance(
            current, ray.exceptions.RayTaskError
        ):
            return current  # a RayTaskError is an instance of what it carries, with a traceback for its text
        queue += [getattr(current, "cause", None), current.__cause__, current.__context__]
    return error


def _say_what_was_deleted(spec: Spec | None, error: Exception) -> Exception:
    """Returns the error, or an error that names the missing file if a reader found an incomplete checkpoint."""
    if spec is None or not isinstance(cause(error), Incomplete):
        return error
    try:
        for checkpoint in (spec.checkpoint, spec.judge, spec.clip):
            if checkpoint:
                check_present(checkpoint)
    except (InputError, Incomplete, RetryableError) as deleted:
        return deleted
    return error


def _report(stage: str, error: Exception, failure_uri: str | None) -> int:
    known = cause(error)
    if isinstance(known, ray.exceptions.RayTaskError):
        known = known.cause  # its own text ends with advice of Ray's
    bad_input = isinstance(known, InputError | Incomplete)
    if isinstance(known, InputError | Incomplete | RetryableError):
        message = str(known).partition("\n")[0]  # ours is one line; Ray Data adds advice of its own to it
    else:
        traceback.print_exception(error)
        message = f"{type(known).__name__}: {(str(known).strip().splitlines() or ['no message'])[-1]}"
    message = printable(message, MESSAGE_CHARACTERS)  # it may quote what others wrote
    kind = "bad input, retrying cannot help" if bad_input else "trouble, worth retrying"
    log.error("%s failed (%s): %s", stage, kind, message)
    if failure_uri is not None:
        failure = Failure(
            stage=stage, kind="bad-input" if bad_input else "trouble", message=message, at=datetime.now(UTC)
        )
        try:
            json_files.replace(failure_uri, failure)
        except Exception as also:  # the log line above is then all there is
            log.error("%s: could not write %s: %s", stage, failure_uri, also)
    return BAD_INPUT if bad_input else TROUBLE
