"""Objects are read and written whole, in a directory and on S3, whatever ends the writer."""

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import object_listing, objects, uris

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
