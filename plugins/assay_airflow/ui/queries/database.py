"""Runs the pages' queries in DuckDB: in memory, bounded in memory, time and number, and over two folders alone.

No text of a user becomes SQL: values are bound, and the names of columns come from this package or from the table that
it built. DuckDB may open files below the storage root, if that is a directory, and below the pages' cache. It refuses
links that lead out of them. The API server imports this module with the first query.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import BoundedSemaphore, Lock, Timer
from typing import Any

import duckdb

from assay_airflow.ui.answers import refuse
from assay_airflow.ui.queries.cache_folder import find_pages_cache
from assay_airflow.ui.queries.run_names import read_root
from ray_jobs.storage import uris

MEMORY, THREADS = "512MB", 2
SECONDS = 10.0  # of one query
AT_ONCE = 4  # queries
WAIT_SECONDS = 3.0  # that a query waits for a slot
BUSY = {"Retry-After": "2"}

_slots = BoundedSemaphore(AT_ONCE)
_databases: dict[tuple[str, ...], duckdb.DuckDBPyConnection] = {}
_lock = Lock()


@contextmanager
def open_cursor(seconds: float = SECONDS, is_build: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yields a cursor whose queries are interrupted after so many seconds.

    Raises HTTPException 503 when AT_ONCE queries run already, and when the time is over. A build of a table takes no
    slot, because only one runs at a time.
    """
    if not is_build and not _slots.acquire(timeout=WAIT_SECONDS):
        raise refuse(503, f"{AT_ONCE} queries run already; try again in 2 seconds", BUSY)
    try:
        cursor = _open_database().cursor()
        timer = Timer(seconds, cursor.interrupt)
        timer.daemon = True
        timer.start()
        try:
            yield cursor
        except duckdb.InterruptException:
            raise refuse(503, f"the query took more than {seconds:g} seconds; narrow its filters", BUSY) from None
        except duckdb.OutOfMemoryException:
            raise refuse(503, f"the query needs more than {MEMORY} of memory; narrow its filters") from None
        except duckdb.IOException:
            if is_build:
                raise
            raise refuse(503, "a file of the query went away while it was read; try again", BUSY) from None
        finally:
            timer.cancel()
            cursor.close()
    finally:
        if not is_build:
            _slots.release()


def fetch(sql: str, values: dict[str, Any], seconds: float = SECONDS) -> list[tuple[Any, ...]]:
    """Returns all rows of a query."""
    with open_cursor(seconds) as cursor:
        return cursor.execute(sql, values).fetchall()


def _open_database() -> duckdb.DuckDBPyConnection:
    folders = _list_folders()
    with _lock:
        if folders not in _databases:
            _databases[folders] = _start_database(folders)
        return _databases[folders]


def _list_folders() -> tuple[str, ...]:
    path = uris.local_path(read_root())
    return (*((os.path.realpath(path),) if path else ()), str(find_pages_cache()))


def _start_database(folders: Sequence[str]) -> duckdb.DuckDBPyConnection:
    database = duckdb.connect(":memory:", config={"memory_limit": MEMORY, "threads": str(THREADS)})
    allowed = ", ".join("'" + f"{folder}/".replace("'", "''") + "'" for folder in folders)
    spill = f"{folders[-1]}/spill".replace("'", "''")
    for setting in (
        f"temp_directory = '{spill}'",
        "max_temp_directory_size = '4GB'",
        f"allowed_directories = [{allowed}]",
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        database.execute(f"SET {setting}")
    return database
