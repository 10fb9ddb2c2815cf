"""F5: a checkpoint's own files hang an engine. The engine is ended, and the error names the checkpoint.

The processes are real. Ray is stood in for where a driver deals with an engine that does not answer;
tests/ray_jobs/engine/test_hung_template.py has it with Ray and vLLM.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import ray
from hanging_process import HANGS
from no_replicas import NoReplicas
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.engine import gpus
from ray_jobs.engine.bounded_calls import ComputeTimeout
from ray_jobs.engine.client import eviction, session, warm
from ray_jobs.engine.client.session import LeasedEngine
from ray_jobs.engine.protocol import EngineJob
from ray_jobs.engine.watchdog import silence_limit
from ray_jobs.inputs.errors import InputError, RetryableError

PROGRAM = Path(__file__).with_name("hanging_process.py")
CHECKPOINT = Checkpoint(uri="/models/step-1", name="step-1", fingerprint="0123456789abcdef")
KILLED = (
    "The actor died unexpectedly before finishing this task. The actor is dead because it was killed by `ray.kill`."
)
ENDED = (
    "The actor died unexpectedly before finishing this task.\nThe actor is dead because its worker process has died. "
    "Worker exit type: SYSTEM_ERROR"
)


def start_engine(hang: str) -> tuple["subprocess.Popen[str]", psutil.Process]:
    """Start the process. Returns it and its watchdog."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, str(PROGRAM), hang]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout
    return process, psutil.Process(int(process.stdout.readline()))


@pytest.mark.slow
@pytest.mark.parametrize("hang", [name for name in HANGS if name != "end"])
def test_a_process_whose_event_loop_hangs_is_ended(hang: str) -> None:
    process, watchdog = start_engine(hang)
    assert process.wait(60) == -signal.SIGKILL
    assert not psutil.wait_procs([watchdog], 30)[1]


@pytest.mark.slow
def test_a_process_that_works_is_left_alone_and_leaves_nothing() -> None:
    process, watchdog = start_engine("work")
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "done\n")
    assert not psutil.wait_procs([watchdog], 30)[1]


@pytest.mark.slow
def test_a_process_that_ends_takes_its_watchdog_with_it() -> None:
    process, watchdog = start_engine("end")
    assert process.wait(60) == 0
    assert not psutil.wait_procs([watchdog], 30)[1]


class Silent:
    """An engine's actor that never answers, and how it ends."""

    def __init__(self) -> None:
        self._actor_id, self.ended = b"silent", threading.Event()
        self.renew = self.evict = self.acquire = self.release = SimpleNamespace(remote=lambda *_: self)

    def take_place(self, monkeypatch: pytest.MonkeyPatch, last_words: str = KILLED) -> None:
        monkeypatch.setenv("ASSAY_ENGINE_SILENCE", "0.5")

        def get(_: Any, timeout: float | None = None) -> Any:
            if self.ended.wait(timeout):
                raise RayActorError(error_msg=last_words)
            raise GetTimeoutError

        monkeypatch.setattr("ray.get", get)
        monkeypatch.setattr("ray.kill", lambda _: self.ended.set())
        monkeypatch.setattr("ray.cancel", lambda _: None)
        monkeypatch.setattr("ray.wait", lambda all, timeout: (all if self.ended.wait(timeout) else [], []))
        monkeypatch.setattr("ray.get_actor", lambda *_: self)
        monkeypatch.setattr("ray.cluster_resources", lambda: {"GPU": 1.0})
        monkeypatch.setattr("ray.util.list_named_actors", lambda **_: [{"namespace": eviction.NAMESPACE, "name": "x"}])
        monkeypatch.setattr(gpus, "is_started", lambda _: True)
        monkeypatch.setattr(gpus, "is_placed", lambda _: True)
        monkeypatch.setattr(eviction, "EVICTION_ANSWER_S", 0.1)


def test_the_driver_that_holds_an_engine_ends_it_when_it_is_silent(
    short_limits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = Silent()
    actor.take_place(monkeypatch)
    session._renew_lease(actor, "token", threading.Event())
    assert actor.ended.is_set()


def test_a_driver_that_waits_for_an_engine_ends_it_when_it_is_silent(
    short_limits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = Silent()
    actor.take_place(monkeypatch)
    with pytest.raises(RayActorError, match=re.escape("killed by `ray.kill`")):
        session._wait_for_lease(actor, "token", CHECKPOINT, None, None, None)


def test_an_engine_that_its_watchdog_ends_hung(monkeypatch: pytest.MonkeyPatch) -> None:
    actor = Silent()
    actor.take_place(monkeypatch, ENDED)
    threading.Timer(0.75, actor.ended.set).start()  # the watchdog's time
    with pytest.raises(session.EngineHung, match="its worker process has died"):
        session._wait_for_lease(actor, "token", CHECKPOINT, None, None, None)


@pytest.mark.parametrize(("seconds", "hung"), [(0.75, True), (0.1, False)], ids=["by its watchdog", "by a crash"])
def test_the_job_that_holds_an_engine_knows_how_it_ended(
    seconds: float, hung: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = Silent()
    actor.take_place(monkeypatch, ENDED)
    monkeypatch.setattr(session, "_wait_for_lease", lambda *_: None)
    monkeypatch.setattr("ray.cluster_resources", dict)
    remote: Any = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda *_: actor))
    monkeypatch.setattr("ray.remote", lambda _: remote)
    threading.Timer(seconds, actor.ended.set).start()
    with pytest.raises(RayActorError) as raised, session.engine_session("x", CHECKPOINT, Engine()):
        ray.get(object())
    assert isinstance(raised.value, session.EngineHung) == hung
    assert not session._last_answer


def test_a_driver_that_needs_its_gpu_ends_it_when_it_is_silent(
    short_limits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = Silent()
    actor.take_place(monkeypatch)
    for _ in range(1000):
        eviction.evict_idle()
        if actor.ended.is_set():
            return
    raise AssertionError("it was never ended")


def test_an_engine_that_starts_is_not_silent(short_limits: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM's start takes minutes, in which the actor answers nothing."""
    actor = Silent()
    actor.take_place(monkeypatch)
    monkeypatch.setattr(gpus, "is_started", lambda _: False)
    began = time.monotonic()
    while time.monotonic() - began < 1.5:
        eviction.evict_idle()
        time.sleep(0.01)
    assert not actor.ended.is_set()


def exit_of(seconds: float, text: str) -> Exception:
    """The error that a driver raises for an engine's end with this text, so many seconds after its last answer."""
    return session._recognise_hang(RayActorError(error_msg=text), time.monotonic() - seconds)


@pytest.mark.parametrize(
    ("seconds", "text", "hung"),
    [
        (61, ENDED, True),
        (90, ENDED, True),
        (59, ENDED, False),
        (121, KILLED, False),
        (121, "The actor is dead because its node has died.", False),
        (float("-inf"), ENDED, False),
    ],
    ids=["by the watchdog", "late", "a crash", "killed by a driver", "its node", "never held"],
)
def test_only_an_end_by_the_watchdog_proves_a_hang(seconds: float, text: str, hung: bool) -> None:
    assert isinstance(exit_of(seconds, text), session.EngineHung) == hung


def test_a_driver_waits_longer_than_the_watchdog() -> None:
    assert eviction.driver_silence_limit() > 1.5 * silence_limit()


SILENT = RayActorError(error_msg=KILLED)
HUNG = session.EngineHung(error_msg="its worker process has died")
TAKEN_BACK = RayActorError(error_msg=KILLED + " The actor never ran - it was cancelled before it started running.")
ENDLESS = RayTaskError(
    "serve", "ray_jobs.engine.bounded_calls.ComputeTimeout: checkpoint /m: no end", ComputeTimeout("no end")
)


@pytest.mark.parametrize(
    ("errors", "kind", "culprit", "starts"),
    [
        ([HUNG] * 9, InputError, "step-1: 2 engines that served it did not answer for 60 s", 2),
        ([SILENT] * 9, RetryableError, "step-1: 2 engines that served it did not answer for 120 s", 2),
        ([SILENT, HUNG] * 9, RetryableError, "look at the network", 3),
        ([ENDLESS], InputError, "checkpoint /m: no end", 1),
        ([RayActorError()] * 9, RetryableError, "the engine died 4 times", 4),
        ([TAKEN_BACK] * 9, RetryableError, "died 4 times", 4),
    ],
    ids=["hung twice", "silent twice", "silent and hung", "endless", "killed by others", "taken back before it ran"],
)
def test_a_hang_is_attributed_to_its_cause(
    errors: list[Exception], kind: type[Exception], culprit: str, starts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from contextlib import contextmanager

    started_engines, errors_left = [], list(errors)

    @contextmanager
    def lease_engine(name: str, *_: Any, **__: Any) -> Iterator[LeasedEngine]:
        started_engines.append(name)
        yield LeasedEngine(name, "token")

    def get(_: Any) -> Any:
        raise errors_left.pop(0)

    monkeypatch.setattr(warm, "ReplicaPool", NoReplicas)
    monkeypatch.setattr(warm, "engine_session", lease_engine)
    monkeypatch.setattr(warm, "load_checkpoint", lambda *_: ("report", lambda *_: object()))
    monkeypatch.setattr(warm, "engine_key", lambda *_: "one")
    monkeypatch.setattr("ray.get", get)
    monkeypatch.setattr("ray.put", lambda value: value)
    monkeypatch.setattr("ray.cluster_resources", dict)
    tasks = [{"part": f"part-{number}", "rows": [1]} for number in range(20)]
    with pytest.raises((kind, RayTaskError), match=culprit):
        list(warm.stream_answers(EngineJob(CHECKPOINT, Engine(), tasks, lambda *_: iter(()))))
    assert len(started_engines) == starts
