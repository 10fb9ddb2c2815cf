"""The loop of the sensors' triggers: poll until the thing is ready, can never be ready, or the deadline passes."""

# mypy: allow-untyped-calls

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from airflow.triggers.base import BaseTrigger

from ray_jobs.inputs.errors import InputError, RetryableError

# Airflow fails the try of a task whose event comes before the scheduler has seen the worker end (apache/airflow#66374).
HANDOVER_S = 2.0

Poll = Callable[[], Awaitable[str | None]]


class PollingTrigger(BaseTrigger):
    """A trigger that waits by `poll_until_ready`."""

    async def poll(self) -> str | None:
        """None if the thing is ready, else one line that names the missing thing. Raises InputError, RetryableError."""
        raise NotImplementedError


async def poll_until_ready(
    poll: Poll,
    poll_interval: float,
    deadline: float,
    say: Callable[[str], object],
    outage: float = 0,
) -> dict[str, Any]:
    """Call `poll` until it returns None. Until then it returns a line that names the missing thing.

    The first call comes after HANDOVER_S seconds, or `poll_interval` if that is shorter. The worker has just looked.

    Returns `{"status": "ready" | "bad-input" | "timeout", "message": ...}`. The message of a timeout is the last
    line. A RetryableError counts as a line too, and extends the deadline by `outage` seconds, because a store that is
    down may be back in an hour. Calls `say` with each new line.
    """
    last: str | None = None
    await asyncio.sleep(min(HANDOVER_S, poll_interval))
    while True:
        until = deadline
        try:
            missing = await poll()
        except InputError as error:
            return {"status": "bad-input", "message": str(error)}
        except RetryableError as error:
            missing, until = str(error), deadline + outage
        if missing is None:
            return {"status": "ready", "message": ""}
        if missing != last:
            say(missing)
            last = missing
        if time.time() >= until:
            return {"status": "timeout", "message": missing}
        await asyncio.sleep(poll_interval)
