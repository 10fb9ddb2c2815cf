"""Exceptions of the tasks, and the policy that decides which of them Airflow retries, and when.

Retryable errors are tried again for as long as an outage lasts. Input errors are never tried again.
"""

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Context, RetryDecision, RetryPolicy

from ray_jobs.inputs.errors import InputError, RetryableError


def parse_delays(minutes: str) -> tuple[timedelta, ...]:
    """Delays before the second try, the third and so on. `minutes` separates them with commas."""
    return tuple(timedelta(minutes=float(number)) for number in minutes.split(","))


DELAYS = parse_delays(os.environ.get("ASSAY_RETRY_MINUTES") or "1,5,15,30,45,60")  # 2 h 36 min in all
UNEXPECTED_TRIES = 3
DELAY_AFTER_TIMEOUT = timedelta(minutes=1)


class RayUnreachable(RetryableError):
    """Ray's Jobs API does not answer, or answers with an error."""


class RayJobFailed(RetryableError):
    """A Ray job ended without its result, and another try may succeed."""


class RayJobTimeout(RayJobFailed):
    """A Ray job was stopped at its time limit. A second timeout without progress is an InputError instead."""


class OutagePolicy(RetryPolicy):
    """Retries a RetryableError for hours, but not past the end of the run.

    A task that waits for its next try holds no slot of a worker or a pool. Any other exception is tried again three
    times only, because it is more often a bug of Assay than an outage.
    """

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        if isinstance(exception, InputError):
            return RetryDecision.fail("bad input: trying again cannot help, a person has to act")
        if not isinstance(exception, RetryableError) and try_number > UNEXPECTED_TRIES:
            return RetryDecision.fail(f"unforeseen, and tried again {UNEXPECTED_TRIES} times")
        delay = DELAYS[min(max(try_number, 1), len(DELAYS)) - 1]
        if isinstance(exception, RayJobTimeout):
            delay = DELAY_AFTER_TIMEOUT
        if (left := _run_time_left(context)) is not None and delay >= left:
            return RetryDecision.fail(f"the run has {left} left, and the next try would be in {delay}")
        return RetryDecision.retry(delay, reason=f"trouble: tried again in {delay} while tries are left")

    def serialize(self) -> dict[str, Any]:
        return {"__type": "OutagePolicy"}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> "OutagePolicy":
        return cls()


def _run_time_left(context: Context | None) -> timedelta | None:
    """How long the run may still take. None if it has no limit or no known start."""
    if not context or not (run := context.get("dag_run")) or not (dag := context.get("dag")):
        return None
    started_at, limit = getattr(run, "start_date", None), getattr(dag, "dagrun_timeout", None)
    return started_at + limit - datetime.now(UTC) if started_at and limit else None


RETRIES: dict[str, Any] = {  # for `default_args`
    "retries": len(DELAYS),
    "retry_delay": DELAYS[0],  # if a worker dies, Airflow sees no exception and uses these three delays
    "retry_exponential_backoff": 3,
    "max_retry_delay": DELAYS[-1],
    "retry_policy": OutagePolicy(),
}
