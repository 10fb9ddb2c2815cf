"""The loop the sensors' triggers share: look, sleep, look again, until it is there, hopeless or too late."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from ray_jobs.inputs.errors import InputError, RetryableError

Look = Callable[[], Awaitable[str | None]]


async def wait(
    look: Look,
    poll_interval: float,
    deadline: float,
    say: Callable[[str], object],
    outage: float = 0,
) -> dict[str, Any]:
    """Call `look` until it returns None; a line it returns says what is missing, and is the message of a timeout.

    Returns `{"status": "ready" | "bad-input" | "timeout", "message": ...}`. RetryableError is waited out like a thing
    missing, and for `outage` seconds longer: a store that does not answer now may answer in an hour. `say` is told each
    line once.
    """
    last: str | None = None
    while True:
        until = deadline
        try:
            missing = await look()
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
