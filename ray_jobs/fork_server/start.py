"""Starts the fork server of a key in the background, at most one at a time."""

import fcntl
import json
import os
import signal
import sys
import time
from dataclasses import dataclass

from ray_jobs.fork_server.server_key import server_environment

LOCK, FOLDER, CLUSTER = 3, 4, 5  # numbers of the server's descriptors; the last one exists below a raylet only
IDLE_VARIABLE, IDLE_SECONDS = "ASSAY_FORK_SERVER_SECONDS", 900.0  # without a process, until the server ends
RETRY_SECONDS = 600.0  # after a server that could not import its modules
BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from ray_jobs.fork_server import server; server.main()"


@dataclass(frozen=True)
class Options:
    """What the server is told on its command line."""

    kind: str
    key: str
    has_cluster: bool
    idle_seconds: float

    def to_arguments(self) -> list[str]:
        return [self.kind, self.key, str(int(self.has_cluster)), str(self.idle_seconds)]

    @classmethod
    def from_arguments(cls, arguments: list[str]) -> "Options":
        kind, key, has_cluster, idle_seconds = arguments
        return cls(kind, key, has_cluster == "1", float(idle_seconds))

    def descriptors(self) -> list[int]:
        """The numbers of the descriptors that the server was started with."""
        return [LOCK, FOLDER, CLUSTER] if self.has_cluster else [LOCK, FOLDER]


def start_server(folder: int, kind: str, key: str, environment: dict[str, str], path: list[str]) -> bool:
    """Start a server and return True, or return False if one runs, starts, or has failed a short time ago.

    Returns before the server is ready. The server does not belong to this process: it lives on when a job is stopped.
    """
    if has_failed_lately(folder, key) or (lock := take_lock(folder, key)) is None:
        return False
    cluster = _open_raylet()
    options = Options(kind, key, cluster is not None, float(environment.get(IDLE_VARIABLE) or IDLE_SECONDS))
    try:
        _spawn(folder, lock, cluster, options, environment, path)
    finally:
        os.close(lock)  # the server holds the lock through its own descriptor
        if cluster is not None:
            os.close(cluster)
    return True


def take_lock(folder: int, key: str) -> int | None:
    """Returns a descriptor that holds the lock of the key's server; None if another process holds it."""
    name = f"{key}.lock"
    lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.stat(name, dir_fd=folder, follow_symlinks=False).st_ino == os.fstat(lock).st_ino:
            return lock  # else a server that has just ended removed the file
    except OSError:
        pass
    os.close(lock)
    return None


def has_failed_lately(folder: int, key: str) -> bool:
    try:
        failed_at = os.stat(f"{key}.failed", dir_fd=folder, follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return False
    return time.time() - failed_at < RETRY_SECONDS


def _spawn(
    folder: int, lock: int, cluster: int | None, options: Options, environment: dict[str, str], path: list[str]
) -> None:
    """Start the interpreter through a shell, which ends at once: so the server is no descendant of this process."""
    log = f"/proc/self/fd/{FOLDER}/{options.key}.log"
    inherited = {LOCK: lock, FOLDER: folder} | ({} if cluster is None else {CLUSTER: cluster})
    spare = {number: fcntl.fcntl(here, fcntl.F_DUPFD_CLOEXEC, 64) for number, here in inherited.items()}
    actions: list[tuple[object, ...]] = [(os.POSIX_SPAWN_DUP2, here, number) for number, here in spare.items()]
    actions += [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    interpreter = [sys.executable, "-u", *_interpreter_options(), "-c", BOOT, json.dumps(path), *options.to_arguments()]
    try:
        shell = os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", '"$@" &', "sh", *interpreter],
            server_environment(environment),
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=[signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD],
        )
    finally:
        for here in spare.values():
            os.close(here)
    os.waitpid(shell, 0)


def _interpreter_options() -> list[str]:
    from subprocess import _args_from_interpreter_flags  # type: ignore[attr-defined]  # imported late: 8 ms

    return list(_args_from_interpreter_flags())


def _open_raylet() -> int | None:
    """Returns a pidfd of the raylet that this process descends from; None if there is none."""
    process = os.getppid()
    while process > 1:
        try:
            with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
                name, _, rest = file.read().partition("(")[2].rpartition(")")
            if name == "raylet":
                return os.pidfd_open(process)
            process = int(rest.split()[1])
        except OSError:
            return None
    return None
