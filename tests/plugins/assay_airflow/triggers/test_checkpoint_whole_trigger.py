import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from assay_airflow.triggers import checkpoint_whole
from assay_airflow.triggers.checkpoint_whole import CheckpointWholeTrigger, digest_listing, is_settled
from specs import write_adapter, write_checkpoint

from ray_jobs.checkpoints.errors import NeverWhole
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import object_listing


def make_trigger(uri: Path, seconds: float = 60, appears: float = 0) -> CheckpointWholeTrigger:
    now = time.time()
    return CheckpointWholeTrigger(str(uri), now + seconds, now + appears, poll_interval=0.05)


def await_event(trigger: CheckpointWholeTrigger) -> dict[str, Any]:
    async def first() -> dict[str, Any]:
        return dict((await anext(trigger.run())).payload)

    return asyncio.run(asyncio.wait_for(first(), 20))


def test_the_trigger_serializes_all_its_arguments() -> None:
    assert CheckpointWholeTrigger("s3://c/step-1", 9.0, 4.0, poll_interval=3.0).serialize() == (
        "assay_airflow.triggers.checkpoint_whole.CheckpointWholeTrigger",
        {"uri": "s3://c/step-1", "deadline": 9.0, "appears_by": 4.0, "poll_interval": 3.0},
    )


def test_a_whole_checkpoint_that_stays_the_same_is_ready(tmp_path: Path) -> None:
    assert await_event(make_trigger(write_checkpoint(tmp_path / "step-1")))["status"] == "ready"


def test_an_adapter_is_ready_when_its_weights_are_whole(tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "step-1", "org/base")
    weights = adapter / "adapter_model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1])
    trigger = make_trigger(adapter)
    assert "adapter_model.safetensors: truncated" in (trigger._describe_missing() or "")
    weights.write_bytes(data)
    assert await_event(trigger)["status"] == "ready"


def test_a_whole_checkpoint_is_ready_after_two_equal_polls(tmp_path: Path) -> None:
    trigger = make_trigger(write_checkpoint(tmp_path / "step-1"))
    assert "looking again whether it changes" in (trigger._describe_missing() or "")
    write_checkpoint(tmp_path / "step-1", b"other weights")
    assert "looking again whether it changes" in (trigger._describe_missing() or "")
    assert trigger._describe_missing() is None


def test_a_missing_checkpoint_fails_at_once(tmp_path: Path) -> None:
    event = await_event(make_trigger(tmp_path / "step-9"))
    assert event == {
        "status": "bad-input",
        "message": f"checkpoint {tmp_path}/step-9: nothing is there; check the URI, or trigger again once it is",
    }


def test_a_missing_checkpoint_may_appear_within_the_time_given(tmp_path: Path) -> None:
    trigger = make_trigger(tmp_path / "step-9", appears=60)
    assert trigger._describe_missing() == f"checkpoint {tmp_path}/step-9: nothing is there yet"
    write_checkpoint(tmp_path / "step-9")
    assert await_event(trigger)["status"] == "ready"


def test_an_upload_is_waited_for_until_the_deadline_and_named(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "step-1")
    (folder / "model.safetensors").unlink()
    event = await_event(make_trigger(folder, seconds=0.1))
    assert event["status"] == "timeout"
    assert "no .safetensors file yet" in event["message"]


def test_a_checkpoint_that_can_never_be_whole_fails_at_once(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "step-1")
    (folder / "config.json").write_text("{}")
    event = await_event(make_trigger(folder))
    assert event["status"] == "bad-input"
    assert "names no `architectures`" in event["message"]


def list_files(folder: Path) -> list[object_listing.Entry]:
    return list(object_listing.iterate_entries(str(folder)))


def test_a_listing_tells_content_apart(tmp_path: Path) -> None:
    assert digest_listing(list_files(tmp_path / "none")) is None
    first = digest_listing(list_files(write_checkpoint(tmp_path / "step-1")))
    assert digest_listing(list_files(tmp_path / "step-1")) == first
    write_checkpoint(tmp_path / "step-1", b"WEIGHTS!")
    assert digest_listing(list_files(tmp_path / "step-1")) != first


@pytest.mark.parametrize(
    ("age", "version", "expected"),
    [
        (59, "17", False),
        (61, "17", True),
        (61, "d41d8cd98f00b204e9800998ecf8427e", True),
        (599, "d41d8cd98f00b204e9800998ecf8427e-8", False),  # uploaded in parts, and dated by the first
        (601, "d41d8cd98f00b204e9800998ecf8427e-8", True),
        (-3600, "17", False),
        (None, "17", False),
    ],
)
def test_a_file_is_settled_if_nobody_changed_it_for_a_while(age: float | None, version: str, expected: bool) -> None:
    assert is_settled(object_listing.Entry("model.safetensors", 1, version, age=age)) is expected


@pytest.mark.parametrize(("youngest", "looks"), [(3600, 1), (5, 2), (-3600, 2)])
def test_one_look_is_enough_if_every_file_is_settled(
    tmp_path: Path, youngest: float, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = list_files(write_checkpoint(tmp_path / "step-1"))
    files = [replace(file, age=7200) for file in files[:-1]] + [replace(files[-1], age=youngest)]
    monkeypatch.setattr(object_listing, "iterate_entries", lambda uri: iter(files))
    trigger = make_trigger(tmp_path / "step-1")
    answers = [trigger._describe_missing() is None for _ in range(looks)]
    assert answers == [*[False] * (looks - 1), True]


def test_old_files_do_not_make_an_incomplete_checkpoint_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_checkpoint(tmp_path / "step-1")
    (folder / "model.safetensors").unlink()
    files = [replace(file, age=7200) for file in list_files(folder)]
    monkeypatch.setattr(object_listing, "iterate_entries", lambda uri: iter(files))
    trigger = make_trigger(folder)
    assert "no .safetensors file yet" in (trigger._describe_missing() or "")
    assert not trigger.is_whole


@pytest.mark.parametrize(
    ("uri", "quiet"), [("/c/step-1", "a minute"), ("s3://c/step-1", "ten minutes")], ids=["directory", "S3"]
)
def test_states_that_come_before_the_weights_are_waited_for_while_anything_changes(
    uri: str, quiet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ["config.json"]

    def require_complete(uri: str) -> None:
        raise NeverWhole(f"checkpoint {uri}: DeepSpeed's own state")

    monkeypatch.setattr(object_listing, "iterate_entries", lambda _: iter(()))
    monkeypatch.setattr(checkpoint_whole, "digest_listing", lambda _: " ".join(keys))
    monkeypatch.setattr(checkpoint_whole, "require_complete", require_complete)
    trigger = CheckpointWholeTrigger(uri, time.time() + 60, 0)
    looks = round({"a minute": 60, "ten minutes": 600}[quiet] / trigger.poll_interval)
    for key in ("global_step5/a.pt", "global_step5/b.pt"):
        keys.append(key)
        for _ in range(looks):
            assert f"looking again for {quiet}, whether an upload is under way" in (trigger._describe_missing() or "")
    with pytest.raises(InputError, match="DeepSpeed's own state"):
        trigger._describe_missing()
