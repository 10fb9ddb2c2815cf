import os
import time
from pathlib import Path

import pytest
from assay_airflow import new_folders, router
from assay_airflow.listings import Listing, list_checkpoint, list_checkpoints
from assay_airflow.new_folders import MAX_EQUAL_POLLS, MAX_FOLDERS, NewFolders
from assay_airflow.odd_folders import OddFolders
from specs import write_checkpoint

from ray_jobs.inputs.errors import RetryableError
from ray_jobs.storage import object_listing


@pytest.fixture(autouse=True)
def _no_quiet_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_folders, "QUIET_S", 0.0)


def look(folders: NewFolders, uri: Path, announced: dict[str, str] | None = None) -> list[str]:
    return sorted(folders.find_ready(str(uri), announced or {}, OddFolders()))


def test_a_new_checkpoint_is_ready_at_the_second_look(tmp_path: Path) -> None:
    folders = NewFolders()
    write_checkpoint(tmp_path / "step-1")
    assert look(folders, tmp_path) == []
    ready = folders.find_ready(str(tmp_path), {}, OddFolders())
    assert ready == {"step-1": list_checkpoints(str(tmp_path))["step-1"].digest}, "the digest of the polls"
    assert look(folders, tmp_path, ready) == []


def test_a_checkpoint_that_changes_is_not_ready(tmp_path: Path) -> None:
    folders = NewFolders()
    write_checkpoint(tmp_path / "step-1")
    assert look(folders, tmp_path) == []
    write_checkpoint(tmp_path / "step-1", b"WEIGHTS!")
    assert look(folders, tmp_path) == []
    assert look(folders, tmp_path) == ["step-1"]


def test_an_upload_is_ready_two_looks_after_its_last_byte(tmp_path: Path) -> None:
    folders = NewFolders()
    shard = write_checkpoint(tmp_path / "step-1") / "model.safetensors"
    data = shard.read_bytes()
    shard.write_bytes(data[:-1])
    assert look(folders, tmp_path) == []
    assert look(folders, tmp_path) == []
    shard.write_bytes(data)
    assert look(folders, tmp_path) == []
    assert look(folders, tmp_path) == ["step-1"]


def test_a_young_checkpoint_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store says how old its files are; no look waits for it."""
    monkeypatch.setattr(new_folders, "QUIET_S", 3600.0)
    folders = NewFolders()
    write_checkpoint(tmp_path / "step-1")
    assert [look(folders, tmp_path) for _ in range(3)] == [[], [], []]


def test_a_file_of_the_future_leaves_the_checkpoint_to_the_polls(tmp_path: Path) -> None:
    folders, checkpoint = NewFolders(), write_checkpoint(tmp_path / "step-1")
    os.utime(checkpoint / "config.json", (time.time() + 3600,) * 2)
    assert [look(folders, tmp_path) for _ in range(3)] == [[], [], []]


def test_without_the_clock_of_the_store_the_polls_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = NewFolders()
    write_checkpoint(tmp_path / "step-1")
    entries = [object_listing.Entry(file.name, 1, "etag") for file in sorted((tmp_path / "step-1").iterdir())]
    monkeypatch.setattr(object_listing, "iterate_entries", lambda _: iter(entries))
    assert list_checkpoint(str(tmp_path / "step-1")).age is None
    assert [look(folders, tmp_path) for _ in range(3)] == [[], [], []]


def test_a_checkpoint_that_was_announced_with_other_content_is_left_to_the_polls(tmp_path: Path) -> None:
    folders = NewFolders()
    write_checkpoint(tmp_path / "step-1")
    assert [look(folders, tmp_path, {"step-1": "other"}) for _ in range(3)] == [[], [], []]


def test_a_folder_that_does_not_change_is_left_to_the_polls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders, opened = NewFolders(), list[str]()
    write_checkpoint(tmp_path / "step-1").joinpath("model.safetensors").unlink()

    def list_and_count(uri: str) -> Listing:
        opened.append(uri)
        return list_checkpoint(uri)

    monkeypatch.setattr(new_folders, "list_checkpoint", list_and_count)
    for _ in range(MAX_EQUAL_POLLS + 1):
        folders.note_poll({"step-1": "digest"})
    assert (look(folders, tmp_path), opened) == ([], [])
    folders.note_poll({"step-1": "it changed"})
    assert (look(folders, tmp_path), len(opened)) == ([], 1)


def test_a_look_opens_few_folders_and_the_oldest_steps_first(tmp_path: Path) -> None:
    folders = NewFolders()
    for number in range(MAX_FOLDERS + 3):
        write_checkpoint(tmp_path / f"step-{number}")
    look(folders, tmp_path)
    ready = folders.find_ready(str(tmp_path), {}, OddFolders())
    assert list(ready) == [f"step-{number}" for number in range(MAX_FOLDERS)]
    look(folders, tmp_path, ready)
    assert len(look(folders, tmp_path, ready)) == 3


def test_a_fault_of_one_folder_stops_no_other(tmp_path: Path) -> None:
    folders = NewFolders()
    (write_checkpoint(tmp_path / "step-1") / "config.json").write_text("[]")
    write_checkpoint(tmp_path / "step-2")
    look(folders, tmp_path)
    assert look(folders, tmp_path) == ["step-2"]


def test_an_outage_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(uri: str) -> None:
        raise RetryableError("the store is away")

    write_checkpoint(tmp_path / "step-1")
    monkeypatch.setattr(router, "list_names", fail)
    with pytest.raises(RetryableError, match="the store is away"):
        look(NewFolders(), tmp_path)
