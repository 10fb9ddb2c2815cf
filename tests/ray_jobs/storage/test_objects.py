import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.storage import object_listing, objects, s3_client, uris

ROOT = Path(__file__).parents[3]
FORK = multiprocessing.get_context("fork")


def test_what_is_written_is_read_back(store: str) -> None:
    uri = f"{store}/a/b.json"
    assert not objects.exists(uri)
    with pytest.raises(FileNotFoundError):
        objects.read(uri)
    objects.write(uri, b"one")
    assert objects.read(uri) == b"one"
    objects.write(uri, b"three")
    assert objects.read(uri) == b"three"
    assert objects.exists(uri)
    objects.delete(uri)
    objects.delete(uri)
    assert not objects.exists(uri)


def test_ranges(store: str) -> None:
    uri = f"{store}/digits"
    objects.write(uri, b"0123456789")
    assert objects.read_range(uri, 2, 3) == b"234"
    assert objects.read_range(uri, 7, None) == b"789"
    assert objects.read_range(uri, 7, 100) == b"789"
    assert objects.read_range(uri, 3, 0) == b""
    assert objects.read_range(uri, 10, 5) == b""
    objects.write(uri, b"")
    assert objects.read_range(uri, 0, 8) == b""


def test_create_keeps_what_is_there(store: str) -> None:
    uri = f"{store}/manifest.json"
    assert objects.create(uri, b"first")
    assert not objects.create(uri, b"second")
    assert objects.read(uri) == b"first"


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


def test_upload(store: str, tmp_path: Path) -> None:
    uri = f"{store}/a/part.parquet"
    objects.write(uri, b"old")
    data = os.urandom(9_000_000)  # over the size from which parts are sent in parallel
    (tmp_path / "part").write_bytes(data)
    objects.upload(tmp_path / "part", uri)
    assert objects.read(uri) == data
    assert [entry.key for entry in object_listing.iterate_entries(store)] == ["a/part.parquet"]
    with pytest.raises(FileNotFoundError):
        objects.upload(tmp_path / "missing", uri)
    assert objects.read(uri) == data
    if uris.is_s3(store):
        with pytest.raises(InputError, match="there is no such bucket"):
            objects.upload(tmp_path / "part", f"{store}-that-is-not-there/x")


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


def test_download(s3: str, tmp_path: Path) -> None:
    data = os.urandom(9_000_000)  # over the size from which ranges are fetched in parallel
    objects.write(f"{s3}/big", data)
    objects.download(f"{s3}/big", tmp_path / "big")
    assert (tmp_path / "big").read_bytes() == data
    with pytest.raises(FileNotFoundError):
        objects.download(f"{s3}/missing", tmp_path / "missing")


def race(uri: str, writers: int) -> list[str]:
    """The words of the writers that were reported as first; all start at the same time."""
    start, outcomes = FORK.Barrier(writers), FORK.Queue()

    def writer(word: str) -> None:
        objects.exists(uri)  # the connection is made before the start
        start.wait(60)
        outcomes.put((word, objects.create(uri, word.encode() * 1000)))

    processes = [FORK.Process(target=writer, args=(f"{number:04d}",)) for number in range(writers)]
    for process in processes:
        process.start()
    answers = [outcomes.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * writers
    return [word for word, won in answers if won]


@pytest.mark.slow
def test_of_racing_creators_one_wins_and_its_bytes_stand(tmp_path: Path) -> None:
    for attempt in range(3):
        uri = str(tmp_path / f"manifest-{attempt}.json")
        (winner,) = race(uri, 16)
        assert objects.read(uri) == winner.encode() * 1000
    assert {path.name for path in tmp_path.iterdir()} == {f"manifest-{attempt}.json" for attempt in range(3)}


@pytest.mark.integration
@pytest.mark.parametrize("s3", ["swift"], indirect=True)
def test_of_concurrent_creators_on_s3_a_winners_bytes_are_stored(s3: str) -> None:
    """AWS lets one win. Swift looks before it writes, so that in a tight race several are told that they won: what
    must hold even then is that nobody who lost, and no mixture, stands."""
    winners = race(f"{s3}/manifest.json", 16)
    standing = objects.read(f"{s3}/manifest.json")
    assert standing in [winner.encode() * 1000 for winner in winners]
    assert not objects.create(f"{s3}/manifest.json", b"late")
    assert objects.read(f"{s3}/manifest.json") == standing


@pytest.mark.parametrize("create", [False, True])
def test_a_writer_killed_anywhere_leaves_the_old_object_or_the_new_one(tmp_path: Path, create: bool) -> None:
    uri, size = str(tmp_path / "object"), 4_000_000
    if not create:
        objects.write(uri, b"\0" * size)

    def writer(ready: Any) -> None:
        ready.set()
        for letter in range(1, 256):
            if create:
                objects.delete(uri)
                assert objects.create(uri, bytes([letter]) * size)
            else:
                objects.write(uri, bytes([letter]) * size)

    left_something = False
    for delay in (0.003, 0.01, 0.02, 0.037, 0.06):
        ready = FORK.Event()
        process = FORK.Process(target=writer, args=(ready,))
        process.start()
        ready.wait()
        time.sleep(delay)
        process.kill()
        process.join()
        left_something |= any(path.name.startswith(".object.") for path in tmp_path.iterdir())
        if objects.exists(uri):
            data = objects.read(uri)
            assert len(data) == size
            assert len(set(data)) == 1
        else:
            assert create
    assert left_something, "no kill hit a write: the test proves nothing"
    assert [entry.key for entry in object_listing.iterate_entries(str(tmp_path))] in (
        [],
        ["object"],
    )  # what a kill left is not listed


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"mounting needs root: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("write_object", [objects.write, objects.create])
def test_a_full_disk_is_one_clear_line_and_keeps_the_old_object(small_disk: Path, write_object: object) -> None:
    uri = str(small_disk / "part.parquet")
    if write_object is objects.write:
        objects.write(uri, b"old")
    with pytest.raises(InputError) as error:
        write_object(uri, b"x" * 2_000_000)  # type: ignore[operator]
    assert str(error.value) == (f"cannot write {uri}: the disk is full; free space or move ASSAY_ROOT, then rerun")
    assert [path.name for path in small_disk.iterdir()] == (["part.parquet"] if write_object is objects.write else [])
    assert write_object is objects.create or objects.read(uri) == b"old"
    objects.write(uri, b"new")  # the space was given back


def test_no_permission_is_one_clear_line(tmp_path: Path) -> None:
    """In a process without root's rights, because root needs no permission."""
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.owner() != "root" or parent == Path("/tmp"):
            break
        parent.chmod(0o755)
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0)
    if os.getuid() != 0:
        tmp_path.chmod(0o555)
    command = [sys.executable, str(Path(__file__).with_name("try_without_permission.py")), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    tried = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    tmp_path.chmod(0o755)
    ending = "Permission denied; check the path and its permissions"
    assert tried.stdout.splitlines() == [
        f"cannot write {tmp_path}/new/x: {ending}",
        f"cannot write {tmp_path}/x: {ending}",
        f"cannot read {tmp_path}/secret: {ending}",
        f"cannot delete {tmp_path}/secret: {ending}",
    ]


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("a file")
    for write_object in (objects.write, objects.create):
        with pytest.raises(InputError, match="check the path and its permissions"):
            write_object(str(tmp_path / "root" / "golden" / "x"), b"")
        with pytest.raises(InputError, match="check the path and its permissions"):
            write_object(str(tmp_path / "root" / "x"), b"")


def test_no_bucket_is_one_clear_line(s3: str) -> None:
    uri = f"{s3}-that-is-not-there/x"
    message = f"cannot write {uri}: there is no such bucket; create it or correct the URI"
    for write_object in (objects.write, objects.create):
        with pytest.raises(InputError) as error:
            write_object(uri, b"")
        assert str(error.value) == message
    with pytest.raises(InputError, match="there is no such bucket"):
        list(object_listing.iterate_entries(uri))


@pytest.mark.integration
@pytest.mark.parametrize("s3", ["swift"], indirect=True)
def test_a_wrong_key_is_one_clear_line(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    monkeypatch.setattr(s3_client._cache, "owner", None)
    with pytest.raises(InputError, match=r"cannot write .*: access denied \(\w+\); check the AWS credentials"):
        objects.write(f"{s3}/x", b"")


def test_no_credentials_is_one_clear_line(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(s3_client._cache, "owner", None)
    with pytest.raises(InputError, match="no AWS credentials; set AWS_ACCESS_KEY_ID"):
        objects.read(f"{s3}/x")


def test_an_endpoint_that_does_not_answer_is_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "ENDPOINT_URL": "http://127.0.0.1:9",
        "ACCESS_KEY_ID": "a",
        "SECRET_ACCESS_KEY": "b",
        "MAX_ATTEMPTS": "1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setattr(s3_client._cache, "owner", None)
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)  # between its tries
    with pytest.raises(RetryableError, match=r"cannot read s3://b/x: .*127.0.0.1:9"):
        objects.read("s3://b/x")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("gs://b/x", "gs://b/x: cannot open gs://; use s3://bucket/key or a local directory"),
        ("http://h/x", "http://h/x: cannot open http://; use s3://bucket/key or a local directory"),
        ("s3:///x", "s3:///x: names no bucket; use s3://bucket/key"),
    ],
)
def test_a_uri_it_cannot_open(uri: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        objects.read(uri)
    assert str(error.value) == message


def test_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert uris.make_absolute("a/b/") == f"{tmp_path}/a/b"
    assert uris.make_absolute("/a/b/") == "/a/b"
    assert uris.make_absolute("file:///a/b") == "/a/b"
    assert uris.make_absolute("s3://b/k/") == "s3://b/k"
    assert uris.make_absolute("~/x") == "/home/someone/x"
