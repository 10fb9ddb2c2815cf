import asyncio
import logging
from pathlib import Path
from typing import Any, cast

import pytest
from assay_airflow import new_folders, router
from assay_airflow.triggers import checkpoint_prefix
from assay_airflow.triggers.checkpoint_prefix import CheckpointPrefixTrigger
from specs import write_checkpoint


class AssetState:
    """A stand-in for Airflow's state of a watched asset."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    async def aget(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    async def aset(self, key: str, value: Any) -> None:
        self.values[key] = value


@pytest.fixture
def state() -> AssetState:
    return AssetState()


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_CHECKPOINTS", str(tmp_path))
    monkeypatch.setenv("ASSAY_WATCH_SECONDS", "0.05")
    return tmp_path


def watcher(state: AssetState) -> CheckpointPrefixTrigger:
    trigger = CheckpointPrefixTrigger()
    trigger._log = cast(Any, logging.getLogger("task"))  # where caplog hears it
    trigger.asset_state_store = state  # type: ignore[assignment]
    return trigger


def collect_events(trigger: CheckpointPrefixTrigger, seconds: float = 0.5) -> list[list[str]]:
    """The names of checkpoints in each event within `seconds`."""
    events: list[list[str]] = []

    async def listen() -> None:
        async for event in trigger.run():
            events.append(event.payload["checkpoints"])

    async def listen_briefly() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(listen(), seconds)

    asyncio.run(listen_briefly())
    return events


def test_the_trigger_serializes_without_arguments() -> None:
    path = "assay_airflow.triggers.checkpoint_prefix.CheckpointPrefixTrigger"
    assert CheckpointPrefixTrigger().serialize() == (path, {})


def test_a_whole_checkpoint_is_announced_once_across_triggerers(prefix: Path, state: AssetState) -> None:
    write_checkpoint(prefix / "step-1")
    write_checkpoint(prefix / "step-2")
    assert collect_events(watcher(state)) == [["step-1", "step-2"]]
    assert collect_events(watcher(state)) == []
    write_checkpoint(prefix / "step-3")
    assert collect_events(watcher(state)) == [["step-3"]]


def test_an_upload_is_announced_when_it_is_whole(prefix: Path, state: AssetState) -> None:
    shard = write_checkpoint(prefix / "step-1") / "model.safetensors"
    data = shard.read_bytes()
    shard.write_bytes(data[:-1])
    assert collect_events(watcher(state)) == []
    shard.write_bytes(data)
    assert collect_events(watcher(state)) == [["step-1"]]


def test_a_checkpoint_overwritten_in_place_is_announced_again(prefix: Path, state: AssetState) -> None:
    write_checkpoint(prefix / "step-1")
    assert collect_events(watcher(state)) == [["step-1"]]
    write_checkpoint(prefix / "step-1", b"WEIGHTS!")
    assert collect_events(watcher(state)) == [["step-1"]]


def test_a_checkpoint_is_announced_after_two_equal_polls(prefix: Path, state: AssetState) -> None:
    trigger = watcher(state)
    write_checkpoint(prefix / "step-1")
    assert asyncio.run(trigger.poll()) == {}
    write_checkpoint(prefix / "step-1", b"WEIGHTS!")
    assert asyncio.run(trigger.poll()) == {}
    assert list(asyncio.run(trigger.poll())) == ["step-1"]


def test_between_two_polls_a_new_checkpoint_is_announced(
    prefix: Path, state: AssetState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second poll would come after an hour. The checkpoint arrives after the first."""
    monkeypatch.setenv("ASSAY_WATCH_SECONDS", "3600")
    monkeypatch.setattr(checkpoint_prefix, "LOOK_S", 0.02)
    monkeypatch.setattr(new_folders, "QUIET_S", 0.0)
    trigger, polls, real = watcher(state), [], router.list_whole

    def poll_once(uri: str, *arguments: Any) -> Any:
        polls.append(uri)
        digests = real(uri, *arguments)
        write_checkpoint(prefix / "step-1")
        write_checkpoint(prefix / "step-2")
        return digests

    monkeypatch.setattr(router, "list_whole", poll_once)

    async def first_event() -> Any:
        events = trigger.run()
        event = await asyncio.wait_for(anext(events), 60)
        (prefix / "step-3").mkdir()
        with pytest.raises(TimeoutError):  # the same checkpoints are not announced again
            await asyncio.wait_for(anext(events), 0.3)
        return event.payload

    assert asyncio.run(first_event()) == {"checkpoints": ["step-1", "step-2"]}
    assert len(polls) == 1
    assert set(state.values["announced"]) == {"step-1", "step-2"}
    monkeypatch.setattr(router, "list_whole", real)
    assert asyncio.run(trigger.poll()) == {}


def test_without_a_prefix_there_is_no_event(monkeypatch: pytest.MonkeyPatch, state: AssetState) -> None:
    monkeypatch.setenv("ASSAY_WATCH_SECONDS", "0.05")
    assert collect_events(watcher(state), 0.2) == []


def test_an_error_is_logged_and_the_trigger_polls_again(
    prefix: Path, state: AssetState, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_checkpoint(prefix / "step-1")
    calls, real = [], router.list_whole

    def fail_twice(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) < 3:
            raise RuntimeError("store away")
        return real(*arguments)

    monkeypatch.setattr(router, "list_whole", fail_twice)
    assert collect_events(watcher(state), 1.5) == [["step-1"]]
    assert "store away; looking again" in caplog.text
