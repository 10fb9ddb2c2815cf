"""A mount or a machine that fails for a while is RetryableError, which is tried again; what the file itself is,
InputError."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from odd_folders import write

from ray_jobs.checkpoints import config_files, files, inspect
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.storage.odd_items import is_of_store

PASSING = ["ESTALE", "EIO", "EMFILE", "ENFILE", "ETIMEDOUT", "ENOMEM", "EAGAIN", "EINTR", "ECONNRESET"]
LASTING = ["ELOOP", "ENXIO", "ENODEV", "ENOTDIR", "EISDIR", "ENAMETOOLONG", "EACCES", "EPERM"]


def fail_on(monkeypatch: pytest.MonkeyPatch, call: str, name: str, error: Exception) -> None:
    """Make a system call fail for one file name, because no file system here gives these errors on demand."""
    real = getattr(os, call)

    def call_or_fail(path: Any, *arguments: Any, **keywords: Any) -> Any:
        if str(path).endswith(name):
            raise error
        return real(path, *arguments, **keywords)

    monkeypatch.setattr(os, call, call_or_fail)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    write(tmp_path / "step-1", {})
    return str(tmp_path / "step-1")


@pytest.mark.parametrize("call", ["open", "stat"])
@pytest.mark.parametrize("code", PASSING)
def test_a_passing_error_is_retryable(folder: str, call: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    number = getattr(errno, code)
    fail_on(monkeypatch, call, "config.json", OSError(number, os.strerror(number)))
    with pytest.raises(RetryableError, match=r"config\.json") as reason:
        inspect.resolve(folder)
    assert is_of_store(reason.value)
    assert str(reason.value).isprintable()


@pytest.mark.parametrize("call", ["open", "stat"])
@pytest.mark.parametrize("code", LASTING)
def test_a_lasting_error_is_an_input_error(folder: str, call: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    number = getattr(errno, code)
    fail_on(monkeypatch, call, "config.json", OSError(number, os.strerror(number)))
    with pytest.raises(InputError, match=r"config\.json") as reason:
        inspect.resolve(folder)
    assert not is_of_store(reason.value)


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EIO, "Input/output error")], ids=["memory", "EIO"])
def test_a_failure_amid_reading_is_retryable(folder: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(config_files, "parse_object", fail)
    with pytest.raises(RetryableError, match="step-1"):
        inspect.resolve(folder)


def test_a_mount_that_fails_in_a_listing_makes_no_file_empty(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    class Item:
        def __init__(self, item: os.DirEntry[str]) -> None:
            self.name, self.is_dir, self.is_symlink = item.name, item.is_dir, item.is_symlink

        def stat(self) -> os.stat_result:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    @contextmanager
    def scan(path: Any) -> Iterator[Iterator[Item]]:
        with real(path) as items:
            yield (Item(item) for item in items)

    with monkeypatch.context() as patch:  # pytest removes the folder before it undoes what a test leaves
        patch.setattr(os, "scandir", scan)
        with pytest.raises(RetryableError, match="step-1"):
            files.list_files(folder)
