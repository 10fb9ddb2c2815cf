import asyncio
import logging
import time
from itertools import pairwise
from typing import Any, cast

import pytest
from airflow.triggers.base import TriggerEvent
from assay_airflow.triggers import ray_job
from assay_airflow.triggers.ray_job import RayJobTrigger
from ray_server import RayServer, connect


@pytest.fixture(autouse=True)
def _no_handover(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker has to end before the event."""
    monkeypatch.setattr(ray_job, "HANDOVER_S", 0)


def make_trigger(seconds: float = 60, patience: float = 60) -> RayJobTrigger:
    ray_trigger = RayJobTrigger("ray_default", "job-1", time.time() + seconds, poll_interval=0.02, patience=patience)
    ray_trigger._log = cast(Any, logging.getLogger("task"))  # where caplog hears it
    return ray_trigger


def await_event(trigger: RayJobTrigger, meanwhile: Any = None) -> dict[str, Any]:
    """The event's payload; `meanwhile` is called once, shortly after the trigger has started."""

    async def first() -> TriggerEvent:
        if meanwhile:
            asyncio.get_running_loop().call_later(0.3, meanwhile)
        async for event in trigger.run():
            return event
        raise AssertionError("no event")

    return dict(asyncio.run(asyncio.wait_for(first(), 20)).payload)


def job_log_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [log_record.getMessage() for log_record in caplog.records if log_record.name == "task"]


def test_the_trigger_serializes_all_its_arguments() -> None:
    arguments: dict[str, Any] = {
        "ray_conn_id": "ray_gpu",
        "submission_id": "job-1",
        "deadline": 12.5,
        "poll_interval": 3.0,
        "patience": 7.0,
        "lines": 4,
        "characters": 40,
    }
    assert RayJobTrigger(**arguments).serialize() == ("assay_airflow.triggers.ray_job.RayJobTrigger", arguments)


def test_a_trigger_of_an_earlier_version_has_copied_no_lines() -> None:
    arguments = RayJobTrigger("ray_gpu", "job-1", 12.5, poll_interval=3.0, patience=7.0).serialize()[1]
    assert (arguments["lines"], arguments["characters"]) == (0, 0)


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", "STOPPED"])
def test_the_end_of_the_job_is_the_event(ray: RayServer, status: str) -> None:
    ray.add("job-1", status, message="why", metadata={"assay_spec": "s"}, driver_exit_code=3)
    assert await_event(make_trigger()) == {
        "status": status,
        "submission_id": "job-1",
        "message": "why",
        "start_time": 1000,
        "metadata": {"assay_spec": "s"},
        "exit_code": 3,
    }


def test_no_event_comes_before_the_worker_has_ended(ray: RayServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_job, "HANDOVER_S", 0.5)
    ray.add("job-1", "SUCCEEDED")
    began = time.monotonic()
    await_event(make_trigger())
    assert time.monotonic() - began >= 0.5


def test_the_trigger_waits_for_the_end_of_the_job(ray: RayServer) -> None:
    ray.add("job-1", "RUNNING")
    event = await_event(make_trigger(), lambda: ray.jobs["job-1"].update(status="SUCCEEDED"))
    assert event["status"] == "SUCCEEDED"


def test_the_job_log_is_copied_line_by_line_without_terminal_codes(
    ray: RayServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="task")
    ray.add("job-1", "RUNNING")
    ray.log_lines = ["one\ntw", "o\n\n", "10%\r20%\r30%\n", "\x1b[31mred\x1b[0m\n", "no newline at the end"]
    await_event(make_trigger(), lambda: ray.jobs["job-1"].update(status="SUCCEEDED"))
    assert job_log_lines(caplog) == ["[ray] one", "[ray] two", "[ray] 30%", "[ray] red", "[ray] no newline at the end"]


def test_a_log_stream_that_breaks_is_resumed_without_gap_or_repeat(
    ray: RayServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="task")
    ray.add("job-1", "RUNNING")
    ray.log_lines, ray.drop_log_after = [f"{number}\n" for number in range(6)], 3
    await_event(make_trigger(), lambda: ray.jobs["job-1"].update(status="SUCCEEDED"))
    assert ray.log_streams >= 2
    assert job_log_lines(caplog) == [f"[ray] {number}" for number in range(6)]


@pytest.mark.parametrize("has_log", [True, False], ids=["in one answer", "by the stream"])
def test_the_end_of_the_log_is_copied_without_gap_or_repeat(
    ray: RayServer, caplog: pytest.LogCaptureFixture, has_log: bool
) -> None:
    caplog.set_level(logging.INFO, logger="task")
    ray.add("job-1", "RUNNING")
    ray.log_lines, ray.has_log = ["one\n", "two\n", "thr"], has_log
    ray.late_log_lines = ["ee\n", "\n", "four"]
    await_event(make_trigger(), lambda: ray.jobs["job-1"].update(status="SUCCEEDED"))
    assert job_log_lines(caplog) == ["[ray] one", "[ray] two", "[ray] three", "[ray] four"]
    assert ray.log_requests == 1


def test_the_end_of_the_log_is_cut_like_the_stream(
    ray: RayServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_job, "MAX_LINES", 3)
    caplog.set_level(logging.INFO, logger="task")
    ray.add("job-1", "RUNNING")
    ray.log_lines, ray.late_log_lines = ["0\n", "1\n"], ["2\n", "3\n", "4"]
    await_event(make_trigger(), lambda: ray.jobs["job-1"].update(status="SUCCEEDED"))
    *lines, warning = job_log_lines(caplog)
    assert lines == ["[ray] 0", "[ray] 1", "[ray] 2"]
    assert "longer than 3 lines" in warning


def test_the_triggerer_goes_on_with_the_log_where_the_worker_stopped(
    ray: RayServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="task")
    ray.add("job-1", "RUNNING")
    ray.log_lines = ["one\n", "two\n"]
    in_worker = make_trigger()
    assert asyncio.run(in_worker.follow(0.5)) is None
    assert ray.stopped == []
    ray.late_log_lines = ["three\n"]
    in_triggerer = RayJobTrigger(**in_worker.serialize()[1])
    in_triggerer._log = in_worker._log
    await_event(in_triggerer, lambda: ray.jobs["job-1"].update(status="SUCCEEDED"))
    assert job_log_lines(caplog) == ["[ray] one", "[ray] two", "[ray] three"]


def test_a_young_job_is_polled_often_and_an_old_one_seldom() -> None:
    polls = [0.0]
    while polls[-1] < 7200:
        polls.append(polls[-1] + ray_job.choose_pause(polls[-1], longest=5))
    pauses = [after - before for before, after in pairwise(polls)]
    assert max(pause / max(before, 4) for before, pause in zip(polls, pauses, strict=False)) <= 0.051
    assert len(polls) < 7200 / 5 + 100
    assert sum(poll > 3600 for poll in polls) <= 721


def test_a_job_that_ray_forgot_is_lost(ray: RayServer) -> None:
    assert await_event(make_trigger())["status"] == "LOST"


def test_past_the_deadline_the_job_is_stopped(ray: RayServer) -> None:
    ray.add("job-1", "RUNNING")
    assert await_event(make_trigger(seconds=0.1))["status"] == "TIMEOUT"
    assert ray.stopped == ["job-1"]


def test_a_short_outage_of_the_api_does_not_end_the_wait(ray: RayServer, caplog: pytest.LogCaptureFixture) -> None:
    ray.add("job-1", "SUCCEEDED")
    ray.broken = 3
    assert await_event(make_trigger())["status"] == "SUCCEEDED"
    assert "GCS is away (silent for 0 s, the job is left running)" in caplog.text


def test_an_api_that_stays_silent_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, 1, None)
    event = await_event(make_trigger(patience=0.1))
    assert event["status"] == "UNREACHABLE"
    assert "Ray at http://127.0.0.1:1 does not answer" in event["message"]


def test_the_deadline_ends_the_wait_for_a_silent_api_too(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, 1, None)
    assert await_event(make_trigger(seconds=0.1))["status"] == "UNREACHABLE"


def test_a_refused_token_ends_the_wait(ray: RayServer, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, ray.port, "wrong")
    event = await_event(make_trigger())
    assert event["status"] == "REFUSED"
    assert "check the password" in event["message"]


def test_a_person_who_kills_the_task_stops_the_job(ray: RayServer) -> None:
    ray.add("job-1", "RUNNING")
    asyncio.run(make_trigger().on_kill())
    assert ray.stopped == ["job-1"]


def test_a_triggerer_that_goes_away_leaves_the_job_running(ray: RayServer) -> None:
    ray.add("job-1", "RUNNING")

    async def cancel_watching() -> None:
        trigger = make_trigger()

        async def watch() -> None:
            async for _ in trigger.run():
                raise AssertionError("nothing has happened yet")

        task = asyncio.create_task(watch())
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await trigger.cleanup()

    asyncio.run(cancel_watching())
    assert ray.stopped == []
