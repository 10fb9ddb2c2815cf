"""The content of a local folder after a power cut or after the kill of a writer."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.storage import local_writes, objects

ROOT = Path(__file__).parents[3]
DAY = 86400
COPIED = 16 * shutil.COPY_BUFSIZE  # type: ignore[attr-defined]  # bytes: whole pieces, so that the writer keeps none back


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The changes of names and the syncs of the process, in order. Each is also executed."""
    calls: list[str] = []

    def record(name: str, subject: Callable[..., str]) -> None:
        original = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            calls.append(f"{name} {subject(*arguments)}")
            return original(*arguments, **options)

        monkeypatch.setattr(os, name, call)

    def call(path: Any) -> str:
        relative = Path(path).relative_to(tmp_path)
        return "a new file" if local_writes.HIDDEN.fullmatch(relative.name) else str(relative)

    record("fsync", lambda descriptor: call(os.readlink(f"/proc/self/fd/{descriptor}")))
    record("replace", lambda _, target: call(target))
    record("link", lambda _, target: call(target))
    return calls


def test_a_part_and_its_names_are_on_disk_before_its_manifest_is(events: list[str], tmp_path: Path) -> None:
    objects.write(f"{tmp_path}/run/captions/part", b"part")
    objects.create(f"{tmp_path}/run/manifest", b"{}")
    assert events == [
        "fsync run", "fsync .", "fsync a new file", "replace run/captions/part", "fsync run/captions",
        "fsync a new file", "link run/manifest", "fsync run",
    ]  # fmt: skip


def test_upload_and_delete_are_on_disk_too(events: list[str], tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"part")
    objects.upload(tmp_path / "source", f"{tmp_path}/part")
    assert events == ["fsync a new file", "replace part", "fsync ."]
    objects.delete(f"{tmp_path}/part")
    assert events[3:] == ["fsync ."]
    objects.delete(f"{tmp_path}/nowhere/part")  # none being there is fine


def test_the_loser_of_a_race_returns_when_the_winners_name_is_on_disk(events: list[str], tmp_path: Path) -> None:
    objects.create(f"{tmp_path}/manifest", b"first")
    events.clear()
    assert not objects.create(f"{tmp_path}/manifest", b"second")
    assert events[-1] == "fsync ."


@pytest.mark.parametrize(("number", "outcome"), [(5, RetryableError), (28, InputError), (22, None)])
def test_a_disk_that_cannot_sync_a_name_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, outcome: type[Exception] | None
) -> None:
    """An I/O error and a full disk are reported. A file system that cannot sync folders at all is accepted."""
    original = os.fsync

    def fails_for_folders(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").is_dir():
            raise OSError(number, os.strerror(number))
        original(descriptor)

    monkeypatch.setattr(os, "fsync", fails_for_folders)
    if outcome:
        with pytest.raises(outcome, match=r"^cannot write \S+/part: [^\n]*$"):
            objects.write(f"{tmp_path}/part", b"x")
    else:
        objects.write(f"{tmp_path}/part", b"x")


@contextmanager
def writer_at_work(folder: Path) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    """A process in the middle of a write to `folder`, and its hidden file. It is killed at the end of the block."""
    pipe = folder.with_name("pipe")
    os.mkfifo(pipe)
    command = [sys.executable, str(Path(__file__).with_name("pipe_writer.py")), str(pipe), f"{folder}/part"]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}) as process, pipe.open("wb") as source:
        source.write(b"x" * COPIED)
        source.flush()
        try:
            (hidden,) = folder.glob(".part.*")
            while hidden.stat().st_size < COPIED:
                time.sleep(0.01)
            yield process, hidden
        finally:
            process.kill()


def make_old(file: Path, days: float = 2) -> None:
    then = time.time() - days * DAY
    os.utime(file, (then, then))


def write_from_another_process(uri: str) -> None:
    command = [sys.executable, str(Path(__file__).with_name("pipe_writer.py")), __file__, uri]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)


def test_what_a_killed_writer_left_is_removed_when_it_is_old(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    with writer_at_work(folder) as (writer, hidden):
        make_old(hidden)
        write_from_another_process(f"{folder}/other")
        assert hidden.exists(), "its writer is alive"
        writer.kill()
        writer.wait()
        make_old(hidden, 0.9)
        write_from_another_process(f"{folder}/other")
        assert hidden.exists(), "it is not old"
        make_old(hidden)
        write_from_another_process(f"{tmp_path}/other")
        assert hidden.exists(), "another folder's writer looks at its own"
        write_from_another_process(f"{folder}/other")
        assert [path.name for path in folder.iterdir()] == ["other"]


KEPT: dict[str, Callable[[Path], object]] = {
    "a person's hidden file": lambda folder: (folder / ".notes").touch(),
    "a name that only begins like it": lambda folder: (folder / f".part.{'a' * 32}.bak").touch(),
    "a name that is not hidden": lambda folder: (folder / f"part.{'a' * 32}").touch(),
    "a folder": lambda folder: (folder / f".part.{'a' * 32}").mkdir(),
    "a link": lambda folder: (folder / f".part.{'a' * 32}").symlink_to("/etc/hostname"),
    "a pipe": lambda folder: os.mkfifo(folder / f".part.{'a' * 32}"),
}


@pytest.mark.parametrize("kind", KEPT)
def test_files_of_no_writer_are_kept(tmp_path: Path, kind: str) -> None:
    KEPT[kind](tmp_path)
    (other,) = tmp_path.iterdir()
    if kind != "a link":
        make_old(other)
    objects.write(f"{tmp_path}/part", b"x")
    assert {path.name for path in tmp_path.iterdir()} == {other.name, "part"}


def test_a_folder_is_looked_through_once_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[str] = []
    original = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: looked_up.append(str(path)) or original(path))  # type: ignore[func-returns-value]
    for number in range(3):
        objects.write(f"{tmp_path}/{number}", b"x")
        objects.write(f"{tmp_path}/below/{number}", b"x")
    assert looked_up == [str(tmp_path), f"{tmp_path}/below"]
