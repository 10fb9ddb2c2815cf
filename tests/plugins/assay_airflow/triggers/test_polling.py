import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from assay_airflow.triggers.polling import poll_until_ready

from ray_jobs.inputs.errors import InputError, RetryableError


def ended(answers: list[Any], seconds: float = 60, outage: float = 0) -> tuple[dict[str, Any], list[str]]:
    """What `poll_until_ready` returns and says while polls give these answers, the last one for ever."""
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


def test_ready_at_the_first_look() -> None:
    assert ended([None]) == ({"status": "ready", "message": ""}, [])


def test_what_is_missing_is_said_once() -> None:
    event, lines = ended(["a", "a", "b", None])
    assert (event["status"], lines) == ("ready", ["a", "b"])


def test_bad_input_ends_the_wait() -> None:
    assert ended(["a", InputError("no")])[0] == {"status": "bad-input", "message": "no"}


def test_trouble_is_waited_out() -> None:
    assert ended([RetryableError("store away"), None]) == ({"status": "ready", "message": ""}, ["store away"])


@pytest.mark.parametrize("last", ["a is missing", RetryableError("a is missing")])
def test_a_timeout_says_what_is_still_missing(last: Any) -> None:
    assert ended([last], seconds=0.05)[0] == {"status": "timeout", "message": "a is missing"}


def test_an_outage_is_waited_out_past_the_deadline_of_a_thing_missing() -> None:
    away = RetryableError("store away")
    assert ended([away, away, None], seconds=-1, outage=60)[0]["status"] == "ready"
    assert ended([away, "a is missing"], seconds=-1, outage=60)[0]["message"] == "a is missing"


def test_there_is_one_look_even_without_time() -> None:
    assert ended([None], seconds=-1)[0]["status"] == "ready"
