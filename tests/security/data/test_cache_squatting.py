"""The cache of checkpoints in a folder that others can write: nothing that they made, linked, locked or changed is
loaded."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import lying_s3
import pytest
from filelock import FileLock
from lying_s3 import Behaviour

from ray_jobs.checkpoints import node_cache
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.runtime import private_cache
from ray_jobs.storage import s3_client

NAME = "0123456789abcdef"
PLANNED = Checkpoint(uri="s3://b/model", name="model", fingerprint=NAME)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The cache's path, still empty, and a checkpoint on S3 to copy."""
    monkeypatch.setattr(node_cache, "verify", lambda _: None)  # S3 is not the target of this attack
    monkeypatch.setattr(node_cache, "_sound", set())
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    with lying_s3.running() as server:
        for name, value in server.variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(s3_client._cache, "owner", None)
        server.objects["model/config.json"] = Behaviour(b"{}")
        server.objects["model/model.safetensors"] = Behaviour(b"weights")
        yield tmp_path / "cache"


def fetch_weights() -> bytes:
    return (node_cache.fetch(PLANNED) / "model.safetensors").read_bytes()


def plant(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(b"planted")


def fill_and_give_away(cache: Path) -> None:
    plant(cache / NAME)
    os.chown(cache, 12345, 12345)


def link_to_planted(cache: Path) -> None:
    plant(cache / "x")
    (cache / NAME).symlink_to(cache / "x")


def open_to_all(cache: Path) -> None:
    plant(cache / NAME)
    cache.chmod(0o777)


def link_in_place_of(cache: Path) -> None:
    plant(cache.with_name("x") / NAME)
    cache.symlink_to("x")


def link_the_weights(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy.parent / "elsewhere")
    (copy / "model.safetensors").symlink_to(copy.parent / "elsewhere")


PLANTED: dict[str, Callable[[Path], object]] = {
    "a folder of the copy's name": lambda cache: plant(cache / NAME),
    "a link of the copy's name": link_to_planted,
    "a cache of another owner": fill_and_give_away,
    "an unfinished copy": lambda cache: plant(cache / f".{NAME}.abc"),
    "a folder open to all": open_to_all,
}


@pytest.mark.parametrize("case", PLANTED)
def test_what_was_planted_is_not_loaded(cache: Path, case: str) -> None:
    if "owner" in case and os.getuid() != 0:
        pytest.skip("giving a folder away needs root")
    PLANTED[case](cache)
    assert fetch_weights() == b"weights"


MODES = {"a group's": 0o2775, "read by all": 0o755, "open to all": 0o1777, "read by its group": 0o740}


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES.keys())
@pytest.mark.parametrize("variable", ["ASSAY_CACHE", "XDG_CACHE_HOME"])
def test_a_folder_that_others_use_keeps_its_mode_and_what_is_in_it(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, variable: str
) -> None:
    shared = cache
    if variable == "XDG_CACHE_HOME":
        monkeypatch.delenv("ASSAY_CACHE")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        shared = tmp_path / "xdg" / "assay"
    plant(shared / NAME)
    shared.chmod(mode)
    cache_folder = private_cache.ensure_cache_folder()
    assert cache_folder == shared / f"assay-{os.getuid()}"
    assert cache_folder.stat().st_mode & 0o777 == 0o700
    assert fetch_weights() == b"weights"
    assert shared.stat().st_mode & 0o7777 == mode
    assert (shared / NAME / "model.safetensors").read_bytes() == b"planted"
    assert private_cache.ensure_cache_folder() == cache_folder


def test_a_private_folder_that_was_opened_to_others_is_refused_and_not_changed(cache: Path) -> None:
    plant(cache)
    cache.chmod(0o755)
    cache_folder = private_cache.ensure_cache_folder()
    cache_folder.chmod(0o770)
    with pytest.raises(InputError, match=r"open to other users, .*; chmod 700 it or set ASSAY_CACHE to[^\n]*$"):
        private_cache.ensure_cache_folder()
    assert cache_folder.stat().st_mode & 0o777 == 0o770


REFUSED: dict[str, Callable[[Path], object]] = {
    "a link in place of the cache": link_in_place_of,
    "a link to nothing": lambda cache: cache.symlink_to("nowhere"),
    "a file": lambda cache: cache.write_bytes(b""),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_cache_that_cannot_be_private_is_refused(cache: Path, case: str) -> None:
    REFUSED[case](cache)
    with pytest.raises(InputError, match=r"set ASSAY_CACHE to[^\n]*$"):
        fetch_weights()


def test_a_private_folder_of_another_within_a_shared_one_is_refused(cache: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("giving a folder away needs root")
    plant(cache / f"assay-{os.getuid()}" / NAME)
    os.chown(cache / f"assay-{os.getuid()}", 12345, 12345)
    os.chown(cache, 12345, 12345)
    with pytest.raises(InputError, match="another user's"):
        fetch_weights()


CHANGES: dict[str, Callable[[Path], object]] = {
    "changed": lambda copy: (copy / "model.safetensors").write_bytes(b"wEights"),
    "cut short": lambda copy: (copy / "model.safetensors").write_bytes(b"wei"),
    "a file removed": lambda copy: (copy / "config.json").unlink(),
    "a file added": lambda copy: (copy / "chat_template.jinja").write_text("{{ 7 }}"),
    "a file linked": link_the_weights,
    "its sums removed": lambda copy: (copy.parent / ".locks" / f"{NAME}.sums").unlink(),
    "its sums unreadable": lambda copy: (copy.parent / ".locks" / f"{NAME}.sums").write_text("{"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_copy_that_changed_is_made_again(cache: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    fetch_weights()
    CHANGES[case](cache / NAME)
    monkeypatch.setattr(node_cache, "_sound", set())  # as in the next process
    assert fetch_weights() == b"weights"
    assert sorted(path.name for path in (cache / NAME).iterdir()) == ["config.json", "model.safetensors"]


def test_a_held_lock_is_a_retryable_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_cache, "LOCK_SECONDS", 0.1)
    private_cache.ensure_cache_folder()
    (cache / ".locks").mkdir()
    with FileLock(cache / ".locks" / NAME), pytest.raises(RetryableError, match="another process has held"):
        fetch_weights()


@pytest.mark.parametrize("variable", ["ASSAY_CACHE", "XDG_CACHE_HOME", "HOME"])
def test_the_cache_is_private_wherever_it_is(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for name in ("ASSAY_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "place"))
    folder = private_cache.ensure_cache_folder()
    assert folder.is_relative_to(tmp_path / "place")
    assert (folder.stat().st_mode & 0o777, folder.stat().st_uid) == (0o700, os.getuid())
