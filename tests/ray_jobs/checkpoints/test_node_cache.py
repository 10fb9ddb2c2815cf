"""This node's copies of checkpoints: whole or not there, made once, and making room for others."""

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
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The node's cache."""
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_local_checkpoint_is_used_where_it_is(tmp_path: Path) -> None:
    model = upload(str(tmp_path / "m"), checkpoint_files())
    assert fetch(inspect.resolve(model)) == Path(model)


def test_a_checkpoint_on_s3_is_fetched_once_and_whole(s3: str, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = upload(f"{s3}/m", checkpoint_files() | {"optimizer.pt": b"large", "logs/x.json": b"{}"})
    planned = inspect.resolve(model)
    local = fetch(planned)
    assert {path.name: path.read_bytes() for path in local.iterdir()} == checkpoint_files()
    monkeypatch.setattr(objects, "download", lambda *_: pytest.fail("fetched again"))
    assert fetch(planned) == local
    assert (local, list_cached(kept)) == (kept / planned.fingerprint, [planned.fingerprint])


def test_a_copy_of_ones_own_is_read_from_storage_and_not_from_the_nodes_copy(
    s3: str, kept: Path, tmp_path: Path
) -> None:
    planned = inspect.resolve(upload(f"{s3}/m", checkpoint_files()))
    (fetch(planned) / SECOND).write_bytes(b"what a bad disk made of it")
    own = fetch(planned, tmp_path / "own")
    assert own.parent == tmp_path / "own"
    assert {path.name: path.read_bytes() for path in own.iterdir()} == checkpoint_files()


def test_an_overwritten_checkpoint_is_not_kept_under_the_planned_fingerprint(s3: str, kept: Path) -> None:
    """Else the planned weights, uploaded again, would be answered for by others for ever."""
    model = upload(f"{s3}/m", checkpoint_files())
    planned = inspect.resolve(model)
    objects.write(f"{model}/{SECOND}", encode_shard({"b": bytes(100)}))
    with pytest.raises(InputError, match="overwritten since this run was planned"):
        fetch(planned)
    upload(model, checkpoint_files())
    assert (fetch(planned) / SECOND).read_bytes() == checkpoint_files()[SECOND]


def test_a_fetch_that_fails_leaves_nothing_to_be_taken_for_whole(
    s3: str, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = inspect.resolve(upload(f"{s3}/m", checkpoint_files()))
    original: Any = objects.download

    def broken(uri: str, path: Path) -> None:
        if uri.endswith(SECOND):
            raise OSError("connection lost")
        original(uri, path)

    monkeypatch.setattr(objects, "download", broken)
    with pytest.raises(Exception, match="connection lost"):
        fetch(planned)
    assert list_cached(kept) == []


def test_of_many_who_need_one_copy_one_makes_it(s3: str, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned, downloaded = inspect.resolve(upload(f"{s3}/m", checkpoint_files())), []
    original: Any = objects.download

    def slow(uri: str, path: Path) -> None:
        downloaded.append(uri)
        time.sleep(0.1)
        original(uri, path)

    monkeypatch.setattr(objects, "download", slow)
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(fetch, [planned] * 8)) == {kept / planned.fingerprint}
    assert len(downloaded) == len(checkpoint_files())


def test_one_who_waits_for_a_maker_that_is_killed_makes_the_copy(s3: str, kept: Path) -> None:
    planned = inspect.resolve(upload(f"{s3}/m", checkpoint_files()))
    command = [sys.executable, str(Path(__file__).with_name("hang_while_fetching.py")), planned.uri]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as maker, ThreadPoolExecutor() as one:
        assert maker.stdout
        maker.stdout.readline()
        waiting = one.submit(fetch, planned)
        time.sleep(0.5)
        assert not waiting.done()
        maker.kill()
        assert {path.name: path.read_bytes() for path in waiting.result(60).iterdir()} == checkpoint_files()
    assert list_cached(kept) == [planned.fingerprint]


def test_what_a_maker_that_was_killed_has_left_is_removed_and_nothing_else(s3: str, kept: Path) -> None:
    planned = inspect.resolve(upload(f"{s3}/m", checkpoint_files()))
    dead, living, old, young = f".{'0' * 16}.abc_1234", f".{'1' * 16}.abc_1234", ".audit-abc_1234", ".audit-abc_5678"
    kept.mkdir(mode=0o700)
    for name in (dead, living, old, young, ".ssh", f"{'0' * 15}"):
        (kept / name).mkdir()
        os.utime(kept / name, (0, 0) if name != young else None)
    with node_cache._lock_copy(kept / ("1" * 16)):
        fetch(planned)
    assert list_cached(kept) == sorted([planned.fingerprint, living, young, ".ssh", "0" * 15])


def test_a_cache_that_is_no_folder_is_told_of_in_one_line(s3: str, kept: Path) -> None:
    kept.write_bytes(b"a file")
    planned = inspect.resolve(upload(f"{s3}/m", checkpoint_files()))
    with pytest.raises(
        InputError, match=rf"^the cache: .*{kept}.*; set ASSAY_CACHE to a folder that this user may write"
    ):
        fetch(planned)


@pytest.fixture
def disk(kept: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A stand-in for a small disk, with nothing on it but the copies: how many of them it has room for."""
    size = sum(map(len, checkpoint_files().values())) + len(b"0")
    total = SimpleNamespace(copies=100.0)

    def usage(path: Path) -> SimpleNamespace:
        used = sum(file.stat().st_size for file in kept.glob("[!.]*/*"))
        return SimpleNamespace(total=int(total.copies * size), free=int(total.copies * size) - used)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    monkeypatch.setattr(node_cache, "MIN_KEPT", KEPT)
    return lambda copies: setattr(total, "copies", copies)


def several(s3: str, count: int) -> list[Checkpoint]:
    made = [checkpoint_files() | {"vocab.json": f"{number}".encode()} for number in range(count)]
    return [inspect.resolve(upload(f"{s3}/{number}", files)) for number, files in enumerate(made)]


def kept_in_turn(kept: Path, made: list[Checkpoint]) -> None:
    """Fetch them, and have the first used first."""
    for number, one in enumerate(made):
        fetch(one)
        os.utime(kept / one.fingerprint, (1000 + number, 1000 + number))


def fingerprints(*some: Checkpoint) -> list[str]:
    return sorted(one.fingerprint for one in some)


def test_the_copies_not_used_for_longest_make_room(s3: str, kept: Path, disk: Callable[[float], None]) -> None:
    *made, last = several(s3, KEPT + 4)
    kept_in_turn(kept, made)
    disk(KEPT + 3.5)  # a tenth of it is left free: room for two more than are kept
    fetch(made[0])
    fetch(last)
    assert list_cached(kept) == fingerprints(made[0], *made[3:], last)


def test_those_used_last_do_not(s3: str, kept: Path, disk: Callable[[float], None]) -> None:
    """An engine may be about to load one."""
    *made, last = several(s3, KEPT + 2)
    kept_in_turn(kept, made)
    disk(KEPT + 0.5)
    with pytest.raises(
        RetryableError, match=rf"checkpoint {last.uri}: its copy takes 0\.0 GB and {kept} has room for "
    ):
        fetch(last)
    assert list_cached(kept) == fingerprints(*made[1:])


def test_one_that_somebody_is_at_does_not(s3: str, kept: Path, disk: Callable[[float], None]) -> None:
    *made, last = several(s3, KEPT + 3)
    kept_in_turn(kept, made)
    disk(KEPT + 2.5)
    with node_cache._lock_copy(kept / made[0].fingerprint):
        fetch(last)
    assert list_cached(kept) == fingerprints(made[0], *made[2:], last)


def test_one_that_is_taken_up_meanwhile_does_not(
    s3: str, kept: Path, disk: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    *made, last = several(s3, KEPT + 4)
    kept_in_turn(kept, made)
    disk(KEPT + 2.5)
    remove: Any = shutil.rmtree

    def removing(path: Path, **options: Any) -> None:
        if path.name.startswith(f".{made[0].fingerprint}"):
            fetch(made[1])
        remove(path, **options)

    monkeypatch.setattr(shutil, "rmtree", removing)
    fetch(last)
    assert list_cached(kept) == fingerprints(made[1], *made[3:], last)


def test_ahead_of_need_a_copy_is_made_where_the_disk_has_room_to_spare(
    s3: str, kept: Path, disk: Callable[[float], None]
) -> None:
    *made, last = several(s3, 3)
    kept_in_turn(kept, made)
    disk(3.2)
    with pytest.raises(RetryableError, match=r"has room for 0\.0 and none to spare; free space there"):
        fetch(last, speculative=True)
    fetch(last)
    assert fetch(last, speculative=True) == kept / last.fingerprint


def test_a_full_disk_is_told_of_with_the_place(s3: str, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is a stand-in."""
    planned = inspect.resolve(upload(f"{s3}/m", checkpoint_files()))

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ray_jobs.storage.objects.os.pwrite", full)
    with pytest.raises(
        RetryableError, match=rf"^cannot copy {planned.uri}/config.json to {kept}/.*: the disk is full; free"
    ):
        fetch(planned)
    assert list_cached(kept) == []
