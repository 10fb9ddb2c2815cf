import asyncio
import logging
import time
from typing import Any, cast

import pytest
from airflow.triggers.base import TriggerEvent
from assay_airflow.triggers.ray_job import RayJobTrigger
from ray_server import RayServer, connect


def trigger(seconds: float = 60, patience: float = 60) -> RayJobTrigger:
    trigger = RayJobTrigger("ray_default", "job-1", time.time() + seconds, poll_interval=0.02, patience=patience)
    trigger._log = cast(Any, logging.getLogger("task"))  # where caplog hears it
    return trigger


def fired(watching: RayJobTrigger, meanwhile: Any = None) -> dict[str, Any]:
    """The event's payload; `meanwhile` is called once, shortly after the trigger has started."""

    async def first() -> TriggerEvent:
        if meanwhile:
            asyncio.get_running_loop().call_later(0.3, meanwhile)
        async for event in watching.run():
            return event
        raise AssertionError("no event")

    return dict(asyncio.run(asyncio.wait_for(first(), 20)).payload)


def copied(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [found.getMessage() for found in caplog.records if found.name == "task"]


def test_it_is_rebuilt_from_exactly_this() -> None:
    assert RayJobTrigger("ray_gpu", "job-1", 12.5, poll_interval=3.0, patience=7.0).serialize() == (
        "assay_airflow.triggers.ray_job.RayJobTrigger",
        {"ray_conn_id": "ray_gpu", "submission_id": "job-1", "deadline": 12.5, "poll_interval": 3.0, "patience": 7.0},
    )


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", "STOPPED"])
def test_the_end_of_the_job_is_the_event(ray: RayServer, status: str) -> None:
    ray.add("job-1", status, message="why", metadata={"assay_spec": "s"}, driver_exit_code=3)
    assert fired(trigger()) == {
        "status": status,
        "submission_id": "job-1",
        "message": "why",
        "start_time": 1000,
        "metadata": {"assay_spec": "s"},
        "exit_code": 3,
    }


def test_a_job_is_waited_for(ray: RayServer) -> None:
    ray.add("job-1", "RUNNING")
    event = fired(trigger(), lambda: ray.jobs["job-1"].update(status="SUCCEEDED"))
    assert event["status"] == "SUCCEEDED"


def test_the_log_is_copied_line_by_line_as_a_person_would_see_it(
    ray: RayServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="task")
    ray.add("job-1", "RUNNING")
    ray.log_lines = ["one\ntw", "o\n\n", "10%\r20%\r30%\n", "\x1b[31mred\x1b[0m\n", "no newline at the end"]
    fired(trigger(), lambda: ray.jobs["job-1"].update(status="SUCCEEDED"))
    assert copied(caplog) == ["[ray] one", "[ray] two", "[ray] 30%", "[ray] red", "[ray] no newline at the end"]


def test_a_broken_log_stream_goes_on_where_it_broke_off(ray: RayServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="task")
    ray.add("job-1", "RUNNING")
    ray.log_lines, ray.drop_log_after = [f"{number}\n" for number in range(6)], 3
    fired(trigger(), lambda: ray.jobs["job-1"].update(status="SUCCEEDED"))
    assert ray.log_streams >= 2
    assert copied(caplog) == [f"[ray] {number}" for number in range(6)]


def test_a_job_that_ray_forgot_is_lost(ray: RayServer) -> None:
    assert fired(trigger())["status"] == "LOST"


def test_past_the_deadline_the_job_is_stopped(ray: RayServer) -> None:
    ray.add("job-1", "RUNNING")
    assert fired(trigger(seconds=0.1))["status"] == "TIMEOUT"
    assert ray.stopped == ["job-1"]


def test_a_hiccup_of_the_api_is_survived(ray: RayServer, caplog: pytest.LogCaptureFixture) -> None:
    ray.add("job-1", "SUCCEEDED")
    ray.broken = 3
    assert fired(trigger())["status"] == "SUCCEEDED"
    assert "GCS is away (silent for 0 s, the job is left running)" in caplog.text


def test_patience_with_a_silent_api_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, 1, None)
    event = fired(trigger(patience=0.1))
    assert event["status"] == "UNREACHABLE"
    assert "Ray at http://127.0.0.1:1 does not answer" in event["message"]


def test_the_deadline_ends_the_wait_for_a_silent_api_too(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, 1, None)
    assert fired(trigger(seconds=0.1))["status"] == "UNREACHABLE"


def test_a_refused_token_ends_the_wait(ray: RayServer, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, ray.port, "wrong")
    event = fired(trigger())
    assert event["status"] == "REFUSED"
    assert "check the password" in event["message"]


def test_a_person_who_kills_the_task_stops_the_job(ray: RayServer) -> None:
    ray.add("job-1", "RUNNING")
    asyncio.run(trigger().on_kill())
    assert ray.stopped == ["job-1"]


def test_a_triggerer_that_goes_away_leaves_the_job_running(ray: RayServer) -> None:
    ray.add("job-1", "RUNNING")

    async def cancelled() -> None:
        watching = trigger()

        async def watch() -> None:
            async for _ in watching.run():
                raise AssertionError("nothing has happened yet")

        task = asyncio.create_task(watch())
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await watching.cleanup()

    asyncio.run(cancelled())
    assert ray.stopped == []
