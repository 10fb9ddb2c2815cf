"""Run work that reads a source in a confined process, so that the driver itself never reads untrusted data.

The driver of `preprocess` calls this to plan a golden set, and so does the check of a suite. A Ray worker reads in its
decoder's process instead (`part_tasks`).
"""

import logging
import os
import signal
from collections.abc import Callable
from typing import Any, TypeVar

from ray_jobs.golden.decoder_process import ConfinedProcess, ProcessDied
from ray_jobs.inputs.errors import InputError, RetryableError

T = TypeVar("T")
log = logging.getLogger("assay")
SECONDS, MEGABYTES = 7200.0, 4096


def run_in_source_process(what: str, work: Callable[..., T], *arguments: Any) -> T:
    """The result of `work` in a separate process. Its log lines are logged in this process. `what` names it in errors.

    Raises InputError and RetryableError as `work` does. Raises InputError when the source takes more time or memory
    than ASSAY_LISTING_SECONDS and ASSAY_LISTING_MB allow, or crashes its reader. Raises RetryableError when the process
    is killed.
    """
    seconds = float(os.environ.get("ASSAY_LISTING_SECONDS") or SECONDS)
    megabytes = int(os.environ.get("ASSAY_LISTING_MB") or MEGABYTES)
    process = ConfinedProcess(megabytes)
    try:
        lines, result, error = process.run(_run_with_log, dict(os.environ), work, arguments, seconds=seconds)
    except ProcessDied as died:
        if died.signal == signal.SIGALRM:
            remedy = f"not listed within {seconds:g} s; split it, set `limit`, or raise ASSAY_LISTING_SECONDS"
            raise InputError(f"{what}: {remedy}") from None
        if died.signal == signal.SIGKILL:
            raise RetryableError(f"{what}: the process that lists it was killed; is there memory enough?") from None
        raise InputError(f"{what}: cannot be listed, because {died}; check its files") from None
    finally:
        process.close()
    for level, line in lines:
        log.log(level, "%s", line)
    if isinstance(error, MemoryError):
        raise InputError(f"{what}: takes more than {megabytes} MB to list; check its files or raise ASSAY_LISTING_MB")
    if error is not None:
        raise error
    outcome: T = result
    return outcome


class _LineCollector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.lines) < 1000:
            self.lines.append((record.levelno, record.getMessage()))


def _run_with_log(
    environment: dict[str, str], work: Callable[..., T], arguments: tuple[Any, ...]
) -> tuple[list[tuple[int, str]], Any, BaseException | None]:
    """(log lines, result, error) of the work.

    Sets the caller's environment, because the server that forks processes has an older environment.
    """
    os.environ.clear()
    os.environ.update(environment)
    handler = _LineCollector()
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        return handler.lines, work(*arguments), None
    except (InputError, RetryableError, MemoryError) as error:
        return handler.lines, None, error
