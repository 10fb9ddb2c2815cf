"""Each folder that a trainer leaves is a checkpoint, or is refused at once with a line that says how to convert it."""

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import pytest
from assay_airflow.triggers.checkpoint_whole import CheckpointWholeTrigger

from dev.trainer_folders import DEMO, FOLDERS, SHARDS, main, write_folder
from ray_jobs.checkpoints import inspect
from ray_jobs.inputs.errors import InputError

WHOLE = sorted(name for name, folder in FOLDERS.items() if folder.refusal is None)
REFUSED = sorted(FOLDERS.keys() - set(WHOLE))
ADAPTERS = {"axolotl-adapter"}  # whole, and refused for want of a base


def await_checkpoint(folder: Path) -> dict[str, Any]:
    """The event of the sensor that waits six hours for a checkpoint."""
    now = time.time()
    trigger = CheckpointWholeTrigger(str(folder), now + 6 * 3600, now, poll_interval=0.01)

    async def first() -> dict[str, Any]:
        return dict((await anext(trigger.run())).payload)

    return asyncio.run(asyncio.wait_for(first(), 60))


@pytest.mark.parametrize("name", WHOLE)
def test_a_trainers_folder_with_weights_is_a_checkpoint(tmp_path: Path, name: str) -> None:
    folder = write_folder(name, tmp_path)
    assert inspect.resolve(str(folder)).name == name
    assert await_checkpoint(folder)["status"] == "ready"


@pytest.mark.parametrize("name", REFUSED)
def test_another_form_is_an_input_error_with_its_conversion(tmp_path: Path, name: str) -> None:
    folder = write_folder(name, tmp_path)
    with pytest.raises(InputError) as refusal:
        inspect.resolve(str(folder))
    line, remedy = str(refusal.value), FOLDERS[name].refusal
    assert remedy
    assert line.startswith(f"checkpoint {folder}: ")
    assert re.search(remedy, line), line
    assert "\n" not in line


@pytest.mark.parametrize("name", sorted(set(REFUSED) - ADAPTERS))
def test_the_sensor_refuses_another_form_at_once(tmp_path: Path, name: str) -> None:
    event = await_checkpoint(write_folder(name, tmp_path))
    assert event["status"] == "bad-input"
    assert re.search(str(FOLDERS[name].refusal), event["message"])


def test_states_that_are_uploaded_before_the_weights_are_waited_for(tmp_path: Path) -> None:
    folder = write_folder("deepspeed-zero-3", tmp_path)
    now = time.time()
    trigger = CheckpointWholeTrigger(str(folder), now + 3600, now, poll_interval=0.01)
    for number in range(20):  # longer than the folder may stay the same
        (folder / "global_step500" / f"more-{number}.pt").write_bytes(b"state")
        assert "whether an upload is under way" in (trigger._describe_missing() or "")
    for shard in (*SHARDS, "model.safetensors.index.json"):
        (folder / shard).write_bytes((DEMO / shard).read_bytes())
    assert "whole; looking again" in (trigger._describe_missing() or "")
    assert trigger._describe_missing() is None


def test_a_name_that_a_shell_would_run_is_not_written_into_a_command(tmp_path: Path) -> None:
    folder = tmp_path / "$(reboot)"
    folder.mkdir()
    (folder / "a';reboot;'.ckpt").write_bytes(b"state")
    with pytest.raises(InputError) as refusal:
        inspect.require_complete(str(folder))
    assert "reboot" not in str(refusal.value).partition("; run ")[2]


def test_the_script_prints_the_result_for_each_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trainer_folders", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == list(FOLDERS)
    assert sum("a checkpoint, fingerprint" in line for line in lines) == len(WHOLE)
