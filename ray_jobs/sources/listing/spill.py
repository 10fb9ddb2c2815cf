"""Keep what a listing must remember of every image in tables on disk, so that memory does not grow with the images.

The sources, the readers of rows and the sample of a golden set use these tables.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def open_database(*tables: str) -> Iterator[sqlite3.Connection]:
    """Yields a temporary database with these tables. No later process reads the database, so writes need not be
    durable."""
    with TemporaryDirectory(prefix="assay-") as folder:
        path = Path(folder, "listing.sqlite")
        # Any thread may collect and so close an unfinished generator.
        with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as opened:
            opened.execute("PRAGMA journal_mode = OFF")
            opened.execute("PRAGMA synchronous = OFF")
            opened.execute("PRAGMA cache_size = -2048")  # KiB
            for table in tables:
                opened.execute(f"CREATE TABLE {table}")
            opened.execute("BEGIN")
            yield opened


class UniqueNames:
    """Makes names unique."""

    def __init__(self, opened: sqlite3.Connection) -> None:
        self._opened = opened

    def unique(self, name: str, number: int) -> str:
        """The name, with `#{number}` if it was used before, or with `#{number + 1}` if that was used too, and so on.

        Later calls never get the same name.
        """
        candidate = name
        while not self._is_new(candidate):
            candidate = f"{name}#{number}"
            number += 1
        return candidate

    def _is_new(self, name: str) -> bool:
        return self._opened.execute("INSERT OR IGNORE INTO given VALUES (?)", (name,)).rowcount == 1


@contextmanager
def open_unique_names() -> Iterator[UniqueNames]:
    """Yields a maker of unique names, with its names in a temporary database."""
    with open_database("given (name TEXT PRIMARY KEY) WITHOUT ROWID") as opened:
        yield UniqueNames(opened)
