"""Special files, and files larger than their size says, wherever Assay reads a file."""

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import object_listing, objects


def link_to_pipe(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


def make_sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**40)


FAULTY: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a link to a pipe": link_to_pipe,
    "a folder": lambda path: path.mkdir(),
    "a socket": lambda path: socket.socket(socket.AF_UNIX).bind(str(path)),
    "an endless device": lambda path: path.symlink_to("/dev/zero"),
    "a terminal": lambda path: path.symlink_to("/dev/ptmx"),
    "a loop of links": lambda path: path.symlink_to(path.name),
    "a link through itself": lambda path: path.symlink_to(f"{path.name}/x"),
    "a sparse file": make_sparse,
    "a file that states no size": lambda path: path.symlink_to("/proc/self/maps"),
}
READERS: dict[str, Callable[[str], object]] = {
    "read": lambda uri: objects.read(uri, at_most=1000),
    "range": lambda uri: objects.read_range(uri, 0, 8),
}


@pytest.mark.parametrize("kind", FAULTY)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_plain_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, reader: str
) -> None:
    monkeypatch.chdir(tmp_path)
    FAULTY[kind](Path("config.json"))
    if reader == "range" and kind in ("a sparse file", "a file that states no size"):
        assert len(objects.read_range("config.json", 0, 8)) == 8  # a range is bounded by itself
        return
    with pytest.raises(InputError, match=r"^(cannot read )?config\.json: \S[^\n]*$"):
        READERS[reader]("config.json")


NAMES = {
    "half a surrogate": "a\ud800b",
    "a null byte": "a\0b",
    "an over-long name": "x" * 300,
    "an over-long path": "x/" * 3000,
}


CALLS: list[Callable[..., Any]] = [
    objects.read, objects.write, objects.create, objects.exists, objects.delete, object_listing.iterate_entries,
    object_listing.find_entry, object_listing.list_subfolders,
]  # fmt: skip


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
@pytest.mark.parametrize("kind", NAMES)
def test_a_name_that_no_file_can_have_is_bad_input_or_absent(
    tmp_path: Path, call: Callable[..., Any], kind: str
) -> None:
    extra = [b""] if call in (objects.write, objects.create) else []
    line = ""
    try:
        outcome = call(f"{tmp_path}/{NAMES[kind]}", *extra)
        outcome = list(outcome) if call == object_listing.iterate_entries else outcome
    except InputError as error:
        line, outcome = str(error), None
    assert outcome is (False if call == objects.exists and not line else None)
    assert len(line.splitlines()) == (0 if outcome is False else 1)
    assert len(line.encode()) < 1000


def test_a_tree_deeper_than_the_interpreter_recurses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(1200):
        os.mkdir("d")
        os.chdir("d")
    Path("weights").touch()
    os.chdir(tmp_path)
    try:
        assert [entry.key for entry in object_listing.iterate_entries(".")] == ["d/" * 1200 + "weights"]
    finally:
        subprocess.run(["rm", "-rf", "d"], check=True)  # pytest's own way of removing it recurses
