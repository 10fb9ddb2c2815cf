"""Weights replaced by others of the same size and modification time are another checkpoint (F27)."""

import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from assay_airflow import fingerprint_cache, listings, router
from specs import write_checkpoint

from ray_jobs.checkpoints import inspect
from ray_jobs.storage import object_listing

WEIGHTS = "model.safetensors"
NOW = datetime(2026, 11, 30, 12, 30, tzinfo=UTC)


@pytest.fixture
def training_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint of a training run that the router has seen."""
    monkeypatch.setenv("ASSAY_SUITES", str(tmp_path / "suites"))
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "small.yaml").write_text("name: small\ndataset: {source: /data/images}\n")
    write_checkpoint(tmp_path / "in" / "step-1")
    return tmp_path


def flip_last_byte(data: bytes) -> bytes:
    """The data with its last byte changed; the header stays."""
    return data[:-1] + bytes([data[-1] ^ 1])


def write_in_place(file: Path) -> None:
    with file.open("r+b") as opened:
        data = opened.read()
        opened.seek(0)
        opened.write(flip_last_byte(data))


def copy_with_times(file: Path) -> None:
    """What `rsync -t` does: another file, then its times, then its name."""
    new_file = file.with_name(".incoming")
    new_file.write_bytes(flip_last_byte(file.read_bytes()))
    shutil.copystat(file, new_file)
    new_file.replace(file)


def copy_over(file: Path) -> None:
    """What `cp -p` and tar do: the same file, other bytes, then its times."""
    new_file = file.with_name(".source")
    new_file.write_bytes(flip_last_byte(file.read_bytes()))
    shutil.copystat(file, new_file)
    shutil.copy2(new_file, file)
    new_file.unlink()


METHODS: dict[str, Callable[[Path], None]] = {
    "in place": write_in_place,
    "rsync -t": copy_with_times,
    "cp -p": copy_over,
}


def replace_weights(folder: Path, method: str) -> None:
    """Replace the weights; size and modification time stay."""
    file = folder / WEIGHTS
    before = file.stat()
    data = file.read_bytes()
    METHODS[method](file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert file.read_bytes() != data


@pytest.mark.parametrize("method", METHODS)
def test_the_cached_fingerprint_is_not_used_for_replaced_weights(training_folder: Path, method: str) -> None:
    uri, root = str(training_folder / "in" / "step-1"), str(training_folder / "root")
    before = fingerprint_cache.resolve(root, uri)
    assert fingerprint_cache.resolve(root, uri) == before
    listing = listings.list_checkpoint(uri)
    replace_weights(training_folder / "in" / "step-1", method)
    after = fingerprint_cache.resolve(root, uri)
    assert after.fingerprint != before.fingerprint
    assert after.fingerprint == inspect.resolve(uri).fingerprint
    assert listings.list_checkpoint(uri).digest != listing.digest


@pytest.mark.parametrize("method", METHODS)
def test_the_router_requests_a_run_for_replaced_weights(training_folder: Path, method: str) -> None:
    run_ids: set[str] = set()

    def make_pass() -> list[str]:
        result = router.run_pass(
            str(training_folder / "root"),
            "small",
            str(training_folder / "in"),
            lambda ids, _: len(run_ids & set(ids)),
            "arrival",
            NOW,
        )
        return [request["trigger_run_id"] for request in result.requests]

    first = make_pass()
    run_ids |= set(first)
    assert len(first) == 1
    assert make_pass() == []
    replace_weights(training_folder / "in" / "step-1", method)
    second = make_pass()
    assert len(second) == 1
    assert second != first


def write_unseen(file: Path) -> None:
    """Write without a stat of the file, because after one the kernel gives the next change a finer time."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
    os.write(descriptor, b"weights")
    os.close(descriptor)
    os.utime(file, ns=(0, 0))


def make_twins(folder: Path) -> tuple[Path, Path]:
    """Two folders with a file of the same size and times, which are as coarse as the kernel's tick."""
    for attempt in range(500):
        twin_a, twin_b = folder / f"{attempt}-one", folder / f"{attempt}-other"
        for twin in (twin_a, twin_b):
            twin.mkdir()
        for twin in (twin_a, twin_b):
            write_unseen(twin / WEIGHTS)
        if (twin_a / WEIGHTS).stat().st_ctime_ns == (twin_b / WEIGHTS).stat().st_ctime_ns:
            return twin_a, twin_b
    pytest.skip("the times of this file system are too fine for two files to share them")


def test_another_file_of_the_same_size_and_all_the_same_times_has_another_version(tmp_path: Path) -> None:
    """Only the inode differs, because renaming a folder changes no time of its files."""
    twin_a, twin_b = make_twins(tmp_path)
    (before,), listing = object_listing.list_folder(str(twin_a), 10), listings.list_checkpoint(str(twin_a))
    twin_a.rename(tmp_path / "away")
    twin_b.rename(twin_a)
    (after,) = object_listing.list_folder(str(twin_a), 10)
    assert before.version.split("-")[:-1] == after.version.split("-")[:-1]
    assert before.version != after.version
    assert listings.list_checkpoint(str(twin_a)).digest != listing.digest
