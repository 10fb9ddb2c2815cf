"""What vLLM leaves behind when an engine ends, and what becomes of it."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ray_jobs.engine import engine_folder

PROGRAM = Path(__file__).with_name("hold_engine_folder.py")

Start = Callable[[Path], tuple["subprocess.Popen[str]", Path]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts an engine's process with this TMPDIR. Returns it and its socket."""
    processes = []

    def start_process(folder: Path) -> tuple["subprocess.Popen[str]", Path]:
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM)],
            env=os.environ | {"TMPDIR": str(folder)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        processes.append(process)
        assert process.stdout
        return process, Path(process.stdout.readline().strip().removeprefix("ipc://"))

    yield start_process
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder with a short name, as sockets need it."""
    with tempfile.TemporaryDirectory(prefix="a-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.slow  # imports vLLM three times
def test_the_next_engine_removes_what_a_killed_engine_left(start: Start, short_path: Path) -> None:
    killed, left_socket = start(short_path)
    _, live_socket = start(short_path)
    assert left_socket.parent != live_socket.parent
    killed.kill()
    killed.wait()
    assert left_socket.is_socket(), "nothing to remove: vLLM now cleans up"
    _, socket = start(short_path)
    assert not left_socket.parent.exists()
    assert (live_socket.is_socket(), socket.is_socket()) == (True, True)
    assert {entry.name for entry in socket.parent.parent.iterdir()} == {live_socket.parent.name, socket.parent.name}


def test_a_path_too_long_for_sockets_leaves_vllm_its_own(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for length, fits in ((engine_folder.MAX_SOCKET_PATH - 74, True), (engine_folder.MAX_SOCKET_PATH - 50, False)):
        folder = short_path / ("x" * (length - len(str(short_path)) - 1))
        folder.mkdir()
        monkeypatch.setenv("TMPDIR", str(folder))
        monkeypatch.setenv(engine_folder.VARIABLE, "")
        engine_folder.use_engine_folder()
        assert bool(os.environ[engine_folder.VARIABLE]) == fits
        if fits:
            path = f"{os.environ[engine_folder.VARIABLE]}/{'u' * 36}"
            assert len(path) <= engine_folder.MAX_SOCKET_PATH


@pytest.mark.parametrize("fault", ["open to others", "no folder"])
def test_without_a_private_folder_vllm_keeps_its_own(
    short_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setenv(engine_folder.VARIABLE, "")
    if fault == "open to others":
        shared = short_path / f"assay-fork-{os.getuid()}"
        shared.mkdir()
        shared.chmod(0o777)
        monkeypatch.setenv("TMPDIR", str(short_path))
    else:
        monkeypatch.setenv("TMPDIR", str(short_path / "missing"))
    engine_folder.use_engine_folder()
    assert os.environ[engine_folder.VARIABLE] == ""


def test_a_chosen_folder_stays(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(short_path))
    monkeypatch.setenv(engine_folder.VARIABLE, "/chosen")
    engine_folder.use_engine_folder()
    assert os.environ[engine_folder.VARIABLE] == "/chosen"
    assert list(short_path.iterdir()) == []
