"""This node's copies of checkpoints: complete or absent, made once, and evicted for others."""

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from samples import checkpoint_files, encode_shard, list_cached, upload

from ray_jobs.checkpoints import inspect, node_cache
from ray_jobs.checkpoints.node_cache import fetch
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.storage import objects

SECOND = "model-00002-of-00002.safetensors"
KEPT = 2  # in these tests


@pytest.fixture
def copies_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The node's cache."""
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_local_checkpoint_is_used_where_it_is(tmp_path: Path) -> None:
    model = upload(str(tmp_path / "m"), checkpoint_files())
    assert fetch(inspect.resolve(model)) == Path(model)


def test_a_checkpoint_on_s3_is_fetched_once_and_completely(
    s3: str, copies_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = upload(f"{s3}/m", checkpoint_files() | {"optimizer.pt": b"large", "logs/x.json": b"{}"})
    checkpoint = inspect.resolve(model)
    local = fetch(checkpoint)
    assert {path.name: path.read_bytes() for path in local.iterdir()} == checkpoint_files()
    monkeypatch.setattr(objects, "download", lambda *_: pytest.fail("fetched again"))
    assert fetch(checkpoint) == local
    assert (local, list_cached(copies_folder)) == (copies_folder / checkpoint.fingerprint, [checkpoint.fingerprint])


def test_a_private_copy_is_read_from_storage_and_not_from_the_node_cache(
    s3: str, copies_folder: Path, tmp_path: Path
) -> None:
    checkpoint = inspect.resolve(upload(f"{s3}/m", checkpoint_files()))
    (fetch(checkpoint) / SECOND).write_bytes(b"what a bad disk made of it")
    own_copy = fetch(checkpoint, tmp_path / "own")
    assert own_copy.parent == tmp_path / "own"
    assert {path.name: path.read_bytes() for path in own_copy.iterdir()} == checkpoint_files()


def test_an_overwritten_checkpoint_is_not_kept_under_the_planned_fingerprint(s3: str, copies_folder: Path) -> None:
    """Otherwise other weights would answer for the planned ones, even after these are uploaded again."""
    model = upload(f"{s3}/m", checkpoint_files())
    checkpoint = inspect.resolve(model)
    objects.write(f"{model}/{SECOND}", encode_shard({"b": bytes(100)}))
    with pytest.raises(InputError, match="overwritten since this run was planned"):
        fetch(checkpoint)
    upload(model, checkpoint_files())
    assert (fetch(checkpoint) / SECOND).read_bytes() == checkpoint_files()[SECOND]


def test_a_failed_fetch_leaves_no_copy(s3: str, copies_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = inspect.resolve(upload(f"{s3}/m", checkpoint_files()))
    original: Any = objects.download

    def fail_to_fetch(uri: str, path: Path) -> None:
        if uri.endswith(SECOND):
            raise OSError("connection lost")
        original(uri, path)

    monkeypatch.setattr(objects, "download", fail_to_fetch)
    with pytest.raises(Exception, match="connection lost"):
        fetch(checkpoint)
    assert list_cached(copies_folder) == []


def test_concurrent_fetches_make_one_copy(s3: str, copies_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, downloaded = inspect.resolve(upload(f"{s3}/m", checkpoint_files())), []
    original: Any = objects.download

    def fetch_slowly(uri: str, path: Path) -> None:
        downloaded.append(uri)
        time.sleep(0.1)
        original(uri, path)

    monkeypatch.setattr(objects, "download", fetch_slowly)
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(fetch, [checkpoint] * 8)) == {copies_folder / checkpoint.fingerprint}
    assert len(downloaded) == len(checkpoint_files())


def test_a_waiting_fetch_makes_the_copy_when_the_maker_is_killed(s3: str, copies_folder: Path) -> None:
    checkpoint = inspect.resolve(upload(f"{s3}/m", checkpoint_files()))
    command = [sys.executable, str(Path(__file__).with_name("hang_while_fetching.py")), checkpoint.uri]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as maker,
        ThreadPoolExecutor() as first,
    ):
        assert maker.stdout
        maker.stdout.readline()
        waiting = first.submit(fetch, checkpoint)
        time.sleep(0.5)
        assert not waiting.done()
        maker.kill()
        assert {path.name: path.read_bytes() for path in waiting.result(60).iterdir()} == checkpoint_files()
    assert list_cached(copies_folder) == [checkpoint.fingerprint]


def test_only_files_of_a_killed_maker_are_removed(s3: str, copies_folder: Path) -> None:
    checkpoint = inspect.resolve(upload(f"{s3}/m", checkpoint_files()))
    dead, living, old, young = f".{'0' * 16}.abc_1234", f".{'1' * 16}.abc_1234", ".audit-abc_1234", ".audit-abc_5678"
    copies_folder.mkdir(mode=0o700)
    for name in (dead, living, old, young, ".ssh", f"{'0' * 15}"):
        (copies_folder / name).mkdir()
        os.utime(copies_folder / name, (0, 0) if name != young else None)
    with node_cache._lock_copy(copies_folder / ("1" * 16)):
        fetch(checkpoint)
    assert list_cached(copies_folder) == sorted([checkpoint.fingerprint, living, young, ".ssh", "0" * 15])


def test_a_cache_that_is_no_folder_is_an_error_of_one_line(s3: str, copies_folder: Path) -> None:
    copies_folder.write_bytes(b"a file")
    checkpoint = inspect.resolve(upload(f"{s3}/m", checkpoint_files()))
    with pytest.raises(
        InputError, match=rf"^the cache: .*{copies_folder}.*; set ASSAY_CACHE to a folder that this user may write"
    ):
        fetch(checkpoint)


@pytest.fixture
def disk(copies_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets how many copies fit on a simulated disk that holds nothing else."""
    size = sum(map(len, checkpoint_files().values())) + len(b"0")
    total = SimpleNamespace(copies=100.0)

    def usage(path: Path) -> SimpleNamespace:
        used = sum(file.stat().st_size for file in copies_folder.glob("[!.]*/*"))
        return SimpleNamespace(total=int(total.copies * size), free=int(total.copies * size) - used)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    monkeypatch.setattr(node_cache, "MIN_KEPT", KEPT)
    return lambda copies: setattr(total, "copies", copies)


def several(s3: str, count: int) -> list[Checkpoint]:
    checkpoints_files = [checkpoint_files() | {"vocab.json": f"{number}".encode()} for number in range(count)]
    return [inspect.resolve(upload(f"{s3}/{number}", files)) for number, files in enumerate(checkpoints_files)]


def fetch_in_turn(copies_folder: Path, checkpoints: list[Checkpoint]) -> None:
    """Fetch them, the first one with the oldest time of use."""
    for number, checkpoint in enumerate(checkpoints):
        fetch(checkpoint)
        os.utime(copies_folder / checkpoint.fingerprint, (1000 + number, 1000 + number))


def fingerprints(*checkpoints: Checkpoint) -> list[str]:
    return sorted(checkpoint.fingerprint for checkpoint in checkpoints)


def test_the_least_recently_used_copies_are_evicted(
    s3: str, copies_folder: Path, disk: Callable[[float], None]
) -> None:
    *others, last = several(s3, KEPT + 4)
    fetch_in_turn(copies_folder, others)
    disk(KEPT + 3.5)  # a tenth of it is left free: room for two more than are kept
    fetch(others[0])
    fetch(last)
    assert list_cached(copies_folder) == fingerprints(others[0], *others[3:], last)


def test_recently_used_copies_are_not_evicted(s3: str, copies_folder: Path, disk: Callable[[float], None]) -> None:
    """An engine may be about to load one."""
    *others, last = several(s3, KEPT + 2)
    fetch_in_turn(copies_folder, others)
    disk(KEPT + 0.5)
    with pytest.raises(
        RetryableError, match=rf"checkpoint {last.uri}: its copy takes 0\.0 GB and {copies_folder} has room for "
    ):
        fetch(last)
    assert list_cached(copies_folder) == fingerprints(*others[1:])


def test_a_copy_in_use_is_not_evicted(s3: str, copies_folder: Path, disk: Callable[[float], None]) -> None:
    *others, last = several(s3, KEPT + 3)
    fetch_in_turn(copies_folder, others)
    disk(KEPT + 2.5)
    with node_cache._lock_copy(copies_folder / others[0].fingerprint):
        fetch(last)
    assert list_cached(copies_folder) == fingerprints(others[0], *others[2:], last)


def test_a_copy_taken_into_use_meanwhile_is_not_evicted(
    s3: str, copies_folder: Path, disk: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    *others, last = several(s3, KEPT + 4)
    fetch_in_turn(copies_folder, others)
    disk(KEPT + 2.5)
    remove: Any = shutil.rmtree

    def remove_noted(path: Path, **options: Any) -> None:
        if path.name.startswith(f".{others[0].fingerprint}"):
            fetch(others[1])
        remove(path, **options)

    monkeypatch.setattr(shutil, "rmtree", remove_noted)
    fetch(last)
    assert list_cached(copies_folder) == fingerprints(others[1], *others[3:], last)


def test_a_speculative_copy_needs_spare_disk_space(s3: str, copies_folder: Path, disk: Callable[[float], None]) -> None:
    *others, last = several(s3, 3)
    fetch_in_turn(copies_folder, others)
    disk(3.2)
    with pytest.raises(RetryableError, match=r"has room for 0\.0 and none to spare; free space there"):
        fetch(last, speculative=True)
    fetch(last)
    assert fetch(last, speculative=True) == copies_folder / last.fingerprint


def test_a_full_disk_is_reported_with_the_folder(s3: str, copies_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is simulated."""
    checkpoint = inspect.resolve(upload(f"{s3}/m", checkpoint_files()))

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ray_jobs.storage.objects.os.pwrite", full)
    with pytest.raises(
        RetryableError,
        match=rf"^cannot copy {checkpoint.uri}/config.json to {copies_folder}/.*: the disk is full; free",
    ):
        fetch(checkpoint)
    assert list_cached(copies_folder) == []
