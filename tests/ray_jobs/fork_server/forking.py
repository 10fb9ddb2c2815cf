"""Runs `forked_program` through fork servers in a folder of the test's own."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from stage_jobs import wait_until

from ray_jobs.fork_server import messages

REPO = Path(__file__).resolve().parents[3]
PROGRAMS = Path(__file__).parent
SECONDS = 60.0


class Host:
    """A folder with the fork servers of one test, and the environment of the processes that use them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sockets = folder / f"assay-fork-{os.getuid()}"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": f"{REPO}:{PROGRAMS}:{folder}",
            "TMPDIR": str(folder),
            "ASSAY_FORK_SERVER": "on",
        }

    def start(self, *arguments: str, options: tuple[str, ...] = (), **more: Any) -> "subprocess.Popen[str]":
        """The client, started as Ray starts a job: in a session of its own, and with one file for its output."""
        return subprocess.Popen(
            [sys.executable, *options, "-m", "forked_program", *arguments],
            **{
                "env": self.environment, "cwd": self.folder, "text": True, "start_new_session": True,
                "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **more,
            },
        )  # fmt: skip

    def run(self, *arguments: str, **more: Any) -> tuple[int, str]:
        """Returns the exit code and the output of the client."""
        client = self.start(*arguments, **more)
        output, _ = client.communicate(timeout=SECONDS)
        return client.returncode, output

    def show(self, **more: Any) -> dict[str, Any]:
        """Returns what the program finds about its process."""
        code, output = self.run("show", **more)
        assert code == 0, output
        facts: dict[str, Any] = json.loads(output.splitlines()[-1])
        return facts

    def ready(self) -> int:
        """Start a server through a client, wait until it listens, and return its process id."""
        assert self.run("exit", "0") == (0, "")
        wait_until(lambda: bool(self.find_servers()), SECONDS)
        [server] = self.find_servers()
        return server

    def find_servers(self) -> list[int]:
        """Returns the process ids of the servers that listen."""
        servers = []
        for name in self.sockets.glob("*.sock"):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection, suppress(OSError):
                with shorten_name(self.sockets) as folder:
                    connection.connect(f"{folder}/{name.name}")
                servers.append(messages.peer_of(connection)[0])
        return servers

    def find_logs(self) -> list[Path]:
        return list(self.sockets.glob("*.log"))

    def read_log(self) -> str:
        """Returns what the servers have printed that did not end in order: those remove their logs."""
        return "".join(log.read_text() for log in self.find_logs())

    def end(self) -> None:
        """Kill every process that has this folder in its environment or on its command line."""
        for process in find_processes(lambda text: str(self.folder) in text):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


@contextmanager
def shorten_name(folder: Path) -> Iterator[str]:
    """A name of the folder that is short enough for a socket's address."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def find_processes(is_wanted: Callable[[str], bool]) -> list[int]:
    """Returns the ids of the processes whose environment, as they were started, or command line is wanted."""
    found_ids = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with suppress(OSError):
                text = (folder / "environ").read_text(errors="replace") + (folder / "cmdline").read_text()
                if is_wanted(text):
                    found_ids.append(int(folder.name))
    return found_ids


def is_running(process: int) -> bool:
    """Whether the process exists and has not ended."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def read_ids(file: Path) -> list[int]:
    """Waits until the program has written the file. Returns the process ids in it."""
    wait_until(lambda: file.exists() and bool(file.read_text()), SECONDS)
    return [int(number) for number in file.read_text().split()]
