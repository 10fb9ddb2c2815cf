import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ray_jobs.checkpoints import node_cache
from ray_jobs.runtime import waiting
from ray_jobs.runtime.waiting import log_while_waiting


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    monkeypatch.setattr(waiting, "AFTER", 0.01)
    monkeypatch.setattr(waiting, "EVERY", 0.01)
    caplog.set_level(logging.INFO, "assay")
    yield
    for thread in threading.enumerate():  # a last line of this test must not reach the log of the next one
        if thread.name == "tell-waiting":
            thread.join(20)


def test_a_wait_is_logged_repeatedly_and_not_after_its_end(caplog: pytest.LogCaptureFixture) -> None:
    calls = threading.Semaphore(0)

    def describe() -> str:
        calls.release()
        return "waiting for Godot"

    with log_while_waiting(describe):
        for _ in range(3):
            assert calls.acquire(timeout=20)
    lines = [line for line in caplog.messages if line.startswith("waiting for Godot; 0 s so far")]
    assert len(lines) >= 2


def test_a_short_or_indescribable_wait_logs_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = threading.Semaphore(0)

    def describe() -> str:
        calls.release()
        raise OSError("the cluster is away")

    with log_while_waiting(describe):
        for _ in range(2):
            assert calls.acquire(timeout=20)
    monkeypatch.setattr(waiting, "AFTER", 600)
    with log_while_waiting(lambda: "too soon"):
        pass
    assert caplog.messages == []


def test_a_copy_that_another_process_makes_is_waited_for_with_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = tmp_path / ("a" * 16)
    (tmp_path / node_cache.LOCKS).mkdir()
    command = [
        sys.executable,
        str(Path(__file__).with_name("hold_lock.py")),
        str(tmp_path / node_cache.LOCKS / copy.name),
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ)) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        logged = threading.Event()
        handler = logging.Handler()
        handler.emit = lambda record: logged.set()  # type: ignore[method-assign]
        waiting.log.addHandler(handler)

        def end_when_told() -> None:
            if logged.wait(20):
                holder.terminate()

        threading.Thread(target=end_when_told, daemon=True).start()
        try:
            with node_cache._lock_copy(copy, wait=60):
                assert logged.is_set()
        finally:
            waiting.log.removeHandler(handler)
    assert f"waiting for the process that makes {copy}; 0 s so far" in caplog.messages
