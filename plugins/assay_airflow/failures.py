"""Which failures Airflow tries again, and when: trouble for as long as an outage lasts, never bad input."""

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Context, RetryDecision, RetryPolicy

from ray_jobs.inputs.errors import InputError, RetryableError


def parse_delays(minutes: str) -> tuple[timedelta, ...]:
    """Delays before the second try, the third and so on, from their minutes with commas between."""
    return tuple(timedelta(minutes=float(number)) for number in minutes.split(","))


DELAYS = parse_delays(os.environ.get("ASSAY_RETRY_MINUTES") or "1,5,15,30,45,60")  # 2 h 36 min in all
UNFORESEEN_TRIES = 3
AFTER_TIMEOUT = timedelta(minutes=1)


class RayUnreachable(RetryableError):
    """Ray's Jobs API does not answer, or answers that it cannot."""


class RayJobFailed(RetryableError):
    """A Ray job ended without its result, for a reason that another try may mend."""


class RayJobTimeout(RayJobFailed):
    """A Ray job was stopped because its time was over. Its second time without progress is bad input."""


class OutagePolicy(RetryPolicy):
    """Tries trouble again for hours, but not past the end of the run.

    A task that waits for its next try holds no slot of a worker or a pool. An exception that nobody foresaw is tried
    again three times, because it is more often a fault of ours than an outage.
    """

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        if isinstance(exception, InputError):
            return RetryDecision.fail("bad input: trying again cannot help, a person has to act")
        if not isinstance(exception, RetryableError) and try_number > UNFORESEEN_TRIES:
            return RetryDecision.fail(f"unforeseen, and tried again {UNFORESEEN_TRIES} times")
        delay = DELAYS[min(max(try_number, 1), len(DELAYS)) - 1]
        if isinstance(exception, RayJobTimeout):
            delay = AFTER_TIMEOUT
        if (left := _left_of_run(context)) is not None and delay >= left:
            return RetryDecision.fail(f"the run has {left} left, and the next try would be in {delay}")
        return RetryDecision.retry(delay, reason=f"trouble: tried again in {delay} while tries are left")

    def serialize(self) -> dict[str, Any]:
        return {"__type": "OutagePolicy"}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> "OutagePolicy":
        return cls()


def _left_of_run(context: Context | None) -> timedelta | None:
    """How long the run may still take; None where it has no limit, or nobody knows when it began."""
    if not context or not (run := context.get("dag_run")) or not (dag := context.get("dag")):
        return None
    began, limit = getattr(run, "start_date", None), getattr(dag, "dagrun_timeout", None)
    return began + limit - datetime.now(UTC) if began and limit else None


RETRIES: dict[str, Any] = {  # for `default_args`
    "retries": len(DELAYS),
    "retry_delay": DELAYS[0],  # where a worker dies there is no exception, and Airflow waits by these three
    "retry_exponential_backoff": 3,
    "max_retry_delay": DELAYS[-1],
    "retry_policy": OutagePolicy(),
}
