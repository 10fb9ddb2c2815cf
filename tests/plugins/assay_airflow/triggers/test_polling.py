import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from assay_airflow.triggers.polling import poll_until_ready

from ray_jobs.inputs.errors import InputError, RetryableError


def poll_answers(answers: list[Any], seconds: float = 60, outage: float = 0) -> tuple[dict[str, Any], list[str]]:
    """The event and the lines of `poll_until_ready` if the polls give these answers, and then the last one forever."""
    lines: list[str] = []

    def give_answers() -> Iterator[Any]:
        yield from answers
        while True:
            yield answers[-1]

    polls = give_answers()

    async def poll() -> str | None:
        answer: str | Exception | None = next(polls)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return asyncio.run(poll_until_ready(poll, 0.01, time.time() + seconds, lines.append, outage)), lines


def test_no_missing_thing_is_ready_at_once() -> None:
    assert poll_answers([None]) == ({"status": "ready", "message": ""}, [])


def test_each_missing_thing_is_logged_once() -> None:
    event, lines = poll_answers(["a", "a", "b", None])
    assert (event["status"], lines) == ("ready", ["a", "b"])


def test_an_input_error_ends_the_wait() -> None:
    assert poll_answers(["a", InputError("no")])[0] == {"status": "bad-input", "message": "no"}


def test_a_retryable_error_does_not_end_the_wait() -> None:
    assert poll_answers([RetryableError("store away"), None]) == ({"status": "ready", "message": ""}, ["store away"])


@pytest.mark.parametrize("last", ["a is missing", RetryableError("a is missing")])
def test_a_timeout_says_what_is_still_missing(last: Any) -> None:
    assert poll_answers([last], seconds=0.05)[0] == {"status": "timeout", "message": "a is missing"}


def test_an_outage_may_last_past_the_deadline() -> None:
    away = RetryableError("store away")
    assert poll_answers([away, away, None], seconds=-1, outage=60)[0]["status"] == "ready"
    assert poll_answers([away, "a is missing"], seconds=-1, outage=60)[0]["message"] == "a is missing"


def test_there_is_one_poll_even_without_time() -> None:
    assert poll_answers([None], seconds=-1)[0]["status"] == "ready"


def test_the_worker_has_time_to_end_before_the_first_poll() -> None:
    looks: list[float] = []

    async def poll() -> str | None:
        looks.append(time.monotonic() - began)
        return None

    began = time.monotonic()
    asyncio.run(poll_until_ready(poll, 0.3, time.time() + 60, lambda line: None))
    assert len(looks) == 1
    assert looks[0] >= 0.3
