"""The progress lines of a job: rows done, speed, and time left."""

import logging

import pytest

from ray_jobs.runtime.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("ray_jobs.runtime.progress.time.monotonic", lambda: now[0])
    caplog.set_level(logging.INFO, "assay")
    return now


def test_the_rate_leaves_out_what_starting_took(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    progress = Progress("captions", 1000, every=5)
    for now, rows in ((130, 100), (131, 100), (136, 500), (137, 300)):
        clock[0] = now
        progress.add(rows)
    assert caplog.messages == [
        "captions: 100/1000 images (10%), 3.3/s, 270 s left",
        "captions: 700/1000 images (70%), 100.0/s, 3 s left",
        "captions: 1000/1000 images (100%), 128.6/s, 0 s left",
    ]


def test_progress_continues_from_the_rows_done(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    progress = Progress("captions", 100, done=60)
    clock[0] += 10
    progress.add(40, "1 failed in part-00001")
    assert caplog.messages == [
        "captions: resuming, 60 of 100 images are done",
        "captions: 100/100 images (100%), 4.0/s, 0 s left, 1 failed in part-00001",
    ]
