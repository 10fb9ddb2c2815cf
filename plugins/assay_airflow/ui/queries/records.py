"""Reads the records of a suite's runs, each once: a record that changes gets another key in the index."""

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

from assay_airflow.ui.answers import refuse
from assay_airflow.ui.queries.run_names import RunName, read_root
from ray_jobs.contract.artifacts import Record
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import index, json_files, object_listing, records
from ray_jobs.storage.index import IndexEntry
from ray_jobs.storage.odd_items import describe, raise_outage

READS = 16
MOST_ROWS = 20_000  # kept in memory, some 10 KB each
MOST_SUITES = 1_000

_rows: OrderedDict[tuple[str, str, str], dict[str, Any]] = OrderedDict()
_lock = Lock()


def list_suites() -> list[str]:
    """Returns the names of the suites that have published runs."""
    return object_listing.list_subfolders(f"{read_root()}/index")[:MOST_SUITES]


def list_entries(suite: str) -> list[IndexEntry]:
    """Returns the index entries of a suite, oldest first."""
    return index.list_entries(read_root(), suite)


def load_rows(entries: list[IndexEntry], summarise: Callable[[Record], dict[str, Any]]) -> tuple[list[Any], list[str]]:
    """Returns what `summarise` makes of each entry's record, and one line for each record that cannot be read.

    Its results are cached by the entry's key. A record that changes gets another key.
    """
    root, problems = read_root(), list[str]()

    def load_row(entry: IndexEntry) -> dict[str, Any] | None:
        key = (root, entry.suite, entry.key)
        with _lock:
            if row := _rows.get(key):
                _rows.move_to_end(key)
                return row
        try:
            record = json_files.load(Record, index.uri_of(root, entry), index.LARGEST)
            row = summarise(record)
        except Exception as error:
            raise_outage(error, root)
            problems.append(f"{entry.checkpoint_folder}/{entry.run_id}: record not readable ({describe(error)})")
            return None
        with _lock:
            _rows[key] = row
            while len(_rows) > MOST_ROWS:
                _rows.popitem(last=False)
        return row

    with ThreadPoolExecutor(READS) as pool:
        return [row for row in pool.map(load_row, entries) if row], problems


def load_record(run: RunName) -> Record:
    """Returns the record of a run. Raises HTTPException 404 for a run without one, and InputError for a damaged one."""
    uri = run.uri(read_root())
    try:
        return records.read(uri)
    except FileNotFoundError:
        raise refuse(404, f"run {run}: no published run of that name") from None
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"run {run}: its record is not readable ({type(error).__name__}); publish it again") from None
