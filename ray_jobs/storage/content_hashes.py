"""Computes the SHA-256 of local files, and remembers each as long as the file's size, times and inode stay the same.

`plan` calls it, in several processes at once on one machine. The hashes lie in a small database in the private folder
of the machine. The database is bounded and may be deleted: without it, every file is read again.
"""

import hashlib
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.regular_files import open_regular
from ray_jobs.runtime.private_cache import ensure_cache_folder

FILE = "content-hashes.sqlite"
MOST = 2_000_000  # files that are remembered, about 200 MB
LOCK_SECONDS = 10.0  # the wait for another process that writes; after that, this process goes on without the database
SETTLED = 2 * 10**9  # nanoseconds: a file that changed more recently may change again within one tick of its clock
TABLE = """CREATE TABLE IF NOT EXISTS hashes (
    state TEXT PRIMARY KEY, sha256 TEXT NOT NULL, used INTEGER NOT NULL
) WITHOUT ROWID"""


class ContentHashes:
    """The hashes of files: computed, or remembered from an earlier process."""

    def __init__(self, database: sqlite3.Connection | None) -> None:
        self._database = database
        self._new: list[tuple[str, str, int]] = []

    def of(self, path: Path) -> str:
        """Returns the file's SHA-256 in hexadecimal digits. Raises what opening and reading the file raise."""
        with open_regular(path) as file:
            status = os.fstat(file.fileno())
            parts = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            state = "-".join(map(str, parts))
            if remembered := self._look_up(state):
                return remembered
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            after = os.fstat(file.fileno())
        if (after.st_mtime_ns, after.st_ctime_ns) == parts[3:] and time.time_ns() - max(parts[3:]) > SETTLED:
            self._new.append((state, sha256, int(time.time())))
        return sha256

    def _look_up(self, state: str) -> str | None:
        if self._database is None:
            return None
        with suppress(sqlite3.Error):
            row = self._database.execute("SELECT sha256 FROM hashes WHERE state = ?", (state,)).fetchone()
            return str(row[0]) if row else None
        return None

    def keep(self) -> None:
        """Store the new hashes. If the database fails, the files are read again the next time."""
        if self._database is None or not self._new:
            return
        with suppress(sqlite3.Error), self._database:
            self._database.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?)", self._new)
            self._database.execute(
                "DELETE FROM hashes WHERE state IN (SELECT state FROM hashes ORDER BY used DESC LIMIT -1 OFFSET ?)",
                (MOST,),
            )


@contextmanager
def content_hashes() -> Iterator[ContentHashes]:
    """Yields the hashes that this machine remembers, and stores the new ones at the end."""
    database = None
    with suppress(sqlite3.Error, OSError, InputError):
        database = sqlite3.connect(ensure_cache_folder() / FILE, timeout=LOCK_SECONDS)
        database.execute(TABLE)
    hashes = ContentHashes(database)
    try:
        yield hashes
    finally:
        hashes.keep()
        if database is not None:
            database.close()
