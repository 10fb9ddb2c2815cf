"""Listings of objects: their order, their bounds, and links."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import object_listing, objects, s3_client


def test_entries_and_folders(store: str) -> None:
    for key in ("b/2.txt", "a/1.txt", "top", "b/c/3.txt", "bb/4", ".hidden", "b/.hidden", "b/.trash/x"):
        objects.write(f"{store}/{key}", key.encode())
    assert [(entry.key, entry.size) for entry in object_listing.iterate_entries(store)] == [
        ("a/1.txt", 7), ("b/2.txt", 7), ("b/c/3.txt", 9), ("bb/4", 4), ("top", 3),
    ]  # fmt: skip
    assert [entry.key for entry in object_listing.iterate_entries(f"{store}/b")] == ["2.txt", "c/3.txt"]
    assert [entry.key for entry in object_listing.iterate_entries(f"{store}/b/")] == ["2.txt", "c/3.txt"]
    assert object_listing.list_subfolders(store) == ["a", "b", "bb"]
    assert object_listing.list_subfolders(f"{store}/nothing") == []
    assert list(object_listing.iterate_entries(f"{store}/nothing")) == []


def test_entries_are_in_the_order_of_their_keys(store: str) -> None:
    """The order of directory names differs: a-b/ comes before a/, because the dash sorts before the slash."""
    names = ("a", "a-b", "a.b", "a0", "b", "B", "ab", "\u00e9", "a!")
    keys = [f"{name}/{rest}" for name in names for rest in ("x", "x-y", "x.y", "d/x", "d-e/x", "d.e/x")]
    keys += [f"files/{name}{end}" for name in names for end in ("", ".png")]
    for key in keys:
        objects.write(f"{store}/{key}", b"")
    assert [entry.key for entry in object_listing.iterate_entries(store)] == sorted(keys)
    assert [entry.key for entry in object_listing.iterate_entries(f"{store}/a")] == sorted(
        key[2:] for key in keys if key[:2] == "a/"
    )


def test_an_entry_has_the_age_of_its_last_change_by_the_clock_of_its_store(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects.write(f"{store}/a", b"1")
    ages = [entry.age for entry in object_listing.iterate_entries(store)]
    if store.startswith("s3:"):
        wrong_clock = SimpleNamespace(time=lambda: 0.0)
        monkeypatch.setattr(object_listing, "time", wrong_clock)
        ages += [entry.age for entry in object_listing.iterate_entries(store)]
    assert all(age is not None and -2 < age < 3600 for age in ages), ages


def test_an_s3_listing_without_a_date_has_no_ages(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    objects.write(f"{s3}/a", b"1")
    monkeypatch.setattr(object_listing, "_read_store_time", lambda page: None)
    assert [entry.age for entry in object_listing.iterate_entries(s3)] == [None]
    monkeypatch.undo()
    for headers in ({}, {"date": "yesterday"}):
        assert object_listing._read_store_time({"ResponseMetadata": {"HTTPHeaders": headers}}) is None


@pytest.mark.parametrize(("shift", "is_young"), [(-86400.0, True), (86400.0, False)])
def test_a_copied_time_does_not_make_a_file_old_and_a_future_one_is_told(
    tmp_path: Path, shift: float, is_young: bool
) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"1")
    os.utime(file, (0, file.stat().st_mtime + shift))
    (entry,) = object_listing.iterate_entries(str(tmp_path))
    assert entry.age is not None
    assert (0 <= entry.age < 3600) if is_young else entry.age < 0


def test_entries_of_a_directory_are_not_collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        objects.write(f"{tmp_path}/{number:02d}/x", b"")
    looked_up: list[str] = []
    original = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: looked_up.append(path) or original(path))  # type: ignore[func-returns-value]
    listing = object_listing.iterate_entries(str(tmp_path))
    assert next(listing).key == "00/x"
    assert len(looked_up) == 2


def test_links_and_what_vanishes_while_it_is_listed(tmp_path: Path) -> None:
    for key in ("a/x", "b/x", "c/x", "elsewhere/y"):
        objects.write(f"{tmp_path}/it/{key}", b"x")
    (tmp_path / "it" / "elsewhere").rename(tmp_path / "elsewhere")
    (tmp_path / "it" / "a" / "folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "it" / "a" / "file").symlink_to(tmp_path / "elsewhere" / "y")
    (tmp_path / "it" / "a" / "nothing").symlink_to(tmp_path / "nowhere")
    (tmp_path / "it" / "c" / "up").symlink_to(tmp_path / "it" / "c")
    listing = object_listing.iterate_entries(str(tmp_path / "it"))
    assert next(listing).key == "a/file"
    shutil.rmtree(tmp_path / "it" / "b")
    keys = {entry.key: entry.size for entry in listing}
    assert keys == {"a/folder/y": 1, "a/nothing": 0, "a/x": 1, "c/x": 1}  # what leads nowhere is there, and empty


@pytest.mark.parametrize("follow_folders", [True, False])
def test_links_to_folders_can_be_left_out(tmp_path: Path, follow_folders: bool) -> None:
    """The snapshot of a Hugging Face cache has links to files. A link to a folder may lead anywhere."""
    objects.write(f"{tmp_path}/blobs/0a", b"{}")
    objects.write(f"{tmp_path}/snapshots/main/weights", b"w")
    (tmp_path / "snapshots" / "main" / "config.json").symlink_to("../../blobs/0a")
    (tmp_path / "snapshots" / "main" / "usr").symlink_to(tmp_path / "blobs")
    keys = [
        entry.key
        for entry in object_listing.iterate_entries(f"{tmp_path}/snapshots/main", follow_folders=follow_folders)
    ]
    assert keys == ["config.json", *(["usr/0a"] if follow_folders else []), "weights"]


def test_a_bounded_listing_and_a_bounded_read(store: str) -> None:
    for name in ("a/1", "a/2", "b/3"):
        objects.write(f"{store}/{name}", b"123")
    assert len(list(object_listing.iterate_entries(store, at_most=5))) == 3
    with pytest.raises(InputError, match="holds more than 2 files"):
        list(object_listing.iterate_entries(store, at_most=2))
    assert objects.read(f"{store}/a/1", at_most=3) == b"123"
    with pytest.raises(InputError, match="a/1: is 3 bytes, more than the 2 that"):
        objects.read(f"{store}/a/1", at_most=2)


def test_one_entry(store: str) -> None:
    objects.write(f"{store}/a/val.parquet", b"four")
    (entry,) = object_listing.iterate_entries(f"{store}/a")
    assert object_listing.find_entry(f"{store}/a/val.parquet") == entry
    for nothing in (f"{store}/a", f"{store}/a/missing", store):
        assert object_listing.find_entry(nothing) is None


def test_the_version_distinguishes_content_of_the_same_size(store: str) -> None:
    objects.write(f"{store}/x", b"one")
    (before,) = object_listing.iterate_entries(store)
    objects.write(f"{store}/x", b"two")
    (after,) = object_listing.iterate_entries(store)
    assert (before.size, before.version != after.version) == (after.size, True)


def test_a_listing_longer_than_a_page(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(7):
        objects.write(f"{s3}/many/{number}", b"x")
    client = s3_client.get_client()
    original: Any = client.get_paginator

    def short_pages(name: str) -> object:
        pages = original(name)
        inner = pages.paginate
        pages.paginate = lambda **arguments: inner(**arguments, PaginationConfig={"PageSize": 3})
        return pages

    monkeypatch.setattr(client, "get_paginator", short_pages)
    assert [entry.key for entry in object_listing.iterate_entries(f"{s3}/many")] == [str(number) for number in range(7)]
