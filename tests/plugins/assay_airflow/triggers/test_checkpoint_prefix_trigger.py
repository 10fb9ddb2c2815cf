import asyncio
import logging
from pathlib import Path
from typing import Any, cast

import pytest
from assay_airflow import router
from assay_airflow.triggers.checkpoint_prefix import CheckpointPrefixTrigger
from specs import checkpoint_in


class Kept:
    """What Airflow keeps for a watched asset."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    async def aget(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    async def aset(self, key: str, value: Any) -> None:
        self.values[key] = value


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_CHECKPOINTS", str(tmp_path))
    monkeypatch.setenv("ASSAY_WATCH_SECONDS", "0.05")
    return tmp_path


def watcher(kept: Kept) -> CheckpointPrefixTrigger:
    trigger = CheckpointPrefixTrigger()
    trigger._log = cast(Any, logging.getLogger("task"))  # where caplog hears it
    trigger.asset_state_store = kept  # type: ignore[assignment]
    return trigger


def announced(watching: CheckpointPrefixTrigger, seconds: float = 0.5) -> list[list[str]]:
    """The names in each event of the next moments."""
    found: list[list[str]] = []

    async def listen() -> None:
        async for event in watching.run():
            found.append(event.payload["checkpoints"])

    async def for_a_while() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(listen(), seconds)

    asyncio.run(for_a_while())
    return found


def test_it_is_rebuilt_from_nothing() -> None:
    path = "assay_airflow.triggers.checkpoint_prefix.CheckpointPrefixTrigger"
    assert CheckpointPrefixTrigger().serialize() == (path, {})


def test_what_is_whole_is_announced_once_even_by_the_next_triggerer(prefix: Path, kept: Kept) -> None:
    checkpoint_in(prefix / "step-1")
    checkpoint_in(prefix / "step-2")
    assert announced(watcher(kept)) == [["step-1", "step-2"]]
    assert announced(watcher(kept)) == []
    checkpoint_in(prefix / "step-3")
    assert announced(watcher(kept)) == [["step-3"]]


def test_an_upload_is_announced_when_it_is_whole(prefix: Path, kept: Kept) -> None:
    shard = checkpoint_in(prefix / "step-1") / "model.safetensors"
    data = shard.read_bytes()
    shard.write_bytes(data[:-1])
    assert announced(watcher(kept)) == []
    shard.write_bytes(data)
    assert announced(watcher(kept)) == [["step-1"]]


def test_a_checkpoint_overwritten_in_place_is_announced_again(prefix: Path, kept: Kept) -> None:
    checkpoint_in(prefix / "step-1")
    assert announced(watcher(kept)) == [["step-1"]]
    checkpoint_in(prefix / "step-1", b"WEIGHTS!")
    assert announced(watcher(kept)) == [["step-1"]]


def test_two_looks_must_agree(prefix: Path, kept: Kept) -> None:
    watching = watcher(kept)
    checkpoint_in(prefix / "step-1")
    assert asyncio.run(watching.poll()) == {}
    checkpoint_in(prefix / "step-1", b"WEIGHTS!")
    assert asyncio.run(watching.poll()) == {}
    assert list(asyncio.run(watching.poll())) == ["step-1"]


def test_without_a_prefix_it_is_silent(monkeypatch: pytest.MonkeyPatch, kept: Kept) -> None:
    monkeypatch.setenv("ASSAY_WATCH_SECONDS", "0.05")
    assert announced(watcher(kept), 0.2) == []


def test_an_error_is_logged_and_the_next_look_may_be_luckier(
    prefix: Path, kept: Kept, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint_in(prefix / "step-1")
    looks, real = [], router.list_whole

    def shaky(*arguments: Any) -> Any:
        looks.append(arguments)
        if len(looks) < 3:
            raise RuntimeError("store away")
        return real(*arguments)

    monkeypatch.setattr(router, "list_whole", shaky)
    assert announced(watcher(kept), 1.5) == [["step-1"]]
    assert "store away; looking again" in caplog.text
