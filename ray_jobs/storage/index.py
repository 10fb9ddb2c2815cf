"""Keeps the index over the records of a suite: one object per record, and one file of all that a page reads in one GET.

    index/{suite}/{series_id}/{published_at}--{checkpoint}--{run_id}--{outcome}.json      the entry of a record
    index/{suite}/index.json                                                              all of them, newest last

`storage.records`, the report and `ray_jobs.api` call this module. An entry's key holds all that a search needs. Each
record has an entry of its own, so two concurrent publishers cannot lose each other's. The file is built from the
entries. A publisher rewrites it only when it lacks more entries than `max_lag` allows, because a file of 10,000 runs
has 8 MB. `load_complete` reads the entries that the file lacks one by one, so a kill or a lag hides no run.
"""

import json
import logging
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from ray_jobs.contract.artifacts import Record
from ray_jobs.contract.stored_model import SCHEMA, NewerSchema, StoredModel, check_schema
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.storage import json_files, object_listing, objects
from ray_jobs.storage.odd_items import raise_outage
from ray_jobs.storage.record_summary import RecordSummary, parse_summary, summarise_record

LARGEST = 64 << 20  # bytes of a record; a larger file is not read, because it is no record
READS = 16  # entries read at once
MAX_LAG, RUNS_PER_LAG = 64, 100  # entries that the file may lack: one of each 100 runs, at most 64
OURS = frozenset(("schema", "schema_version", "suite", "count", "newer", "is_of_newer"))  # `load` keeps all other keys
# The fields of `IndexEntry`, in its order. A key with other characters is no entry, and no path is built from it.
KEY = re.compile(
    r"([A-Za-z0-9_]+)/(\d{8}T\d{6}\.\d{6}Z)--([A-Za-z0-9_][A-Za-z0-9_.-]*)--([A-Za-z0-9_]+)--([A-Z]+)\.json", re.ASCII
)

HEAD_BYTES = 512  # of the file; they hold its `count`
HEAD = re.compile(rb'\{"schema":%d,"suite":"[A-Za-z0-9_.-]*","count":(\d{1,9}),"records":\{' % SCHEMA)

log = logging.getLogger("assay")


class IndexEntry(NamedTuple):
    """The facts about a record that the key of its entry holds."""

    suite: str
    series_id: str
    published_at: str
    checkpoint_folder: str
    run_id: str
    outcome: str

    def run_uri(self, root: str) -> str:
        return f"{root}/runs/{self.checkpoint_folder}/{self.run_id}"

    @property
    def key(self) -> str:
        name = "--".join((self.published_at, self.checkpoint_folder, self.run_id, self.outcome))
        return f"{self.series_id}/{name}.json"


class _Lines(BaseModel):
    """The index file before its lines are parsed, so that only an odd line is left out."""

    model_config = ConfigDict(extra="allow")

    records: dict[str, Any] = {}


class Index(StoredModel):
    """`index.json`: the records of a suite, newest last.

    It may lack one of each 100 records, at most 64. `assay records list` and `ray_jobs.api` read these too.
    """

    suite: str
    """The suite."""
    count: int = 0
    """The number of records in the file. A file of an earlier version has no such key."""
    records: dict[str, RecordSummary] = {}
    """Each record by the key of its entry."""
    newer: dict[str, Any] = Field({}, exclude=True)
    """The lines of a newer Assay, by key, as they are in the file. Each rewrite of the file keeps them."""
    is_of_newer: bool = Field(False, exclude=True)
    """The whole file is of a newer Assay."""


def list_entries(root: str, suite: str, series_id: str | None = None) -> list[IndexEntry]:
    """Returns the entries of a suite, or of one of its series when `series_id` is given, oldest first."""
    subfolder, start = (f"/{series_id}", f"{series_id}/") if series_id else ("", "")
    listed = object_listing.iterate_entries(f"{root}/index/{suite}{subfolder}")
    keys = (start + entry.key for entry in listed if entry.size <= LARGEST)
    suite_entries = [IndexEntry(suite, *match.groups()) for key in keys if (match := KEY.fullmatch(key))]
    return sorted(suite_entries, key=lambda entry: (entry.published_at, entry.run_id))


def entry_of_key(suite: str, key: str) -> IndexEntry:
    """Returns the entry with this key, which `list_entries` has listed."""
    match = KEY.fullmatch(key)
    assert match
    return IndexEntry(suite, *match.groups())


def load(root: str, suite: str) -> Index:
    """Returns the index file in one read, without unreadable lines, because the file can be built again.

    A file of a newer Assay counts as missing: this function logs that, and `refresh` leaves the file as it is. Raises
    RetryableError when the store does not answer.
    """
    uri = _index_uri(root, suite)
    return _parse_file(suite, uri, _read_file(uri))


def _read_file(uri: str) -> bytes:
    """Returns the bytes of the index file, none if it is missing or not a file. Raises RetryableError."""
    try:
        return objects.read(uri, json_files.LARGEST)
    except RetryableError:
        raise
    except Exception:  # the caller builds the index from the entries
        return b""


def _parse_file(suite: str, uri: str, content: bytes) -> Index:
    lines, others, is_of_newer = dict[str, Any](), dict[str, Any](), False
    try:
        json_files.check(content, uri)
        file = _Lines.model_validate_json(content)
        lines, others = file.records, {key: value for key, value in (file.model_extra or {}).items() if key not in OURS}
    except NewerSchema as newer:
        log.warning("%s; it is left as it is, and its entries are read one by one", newer)
        is_of_newer = True
    except ValueError:  # missing or not JSON
        lines = {}
    newer_lines = {key: value for key, value in lines.items() if _is_newer(value)}
    readable = {key: line for key, value in lines.items() if key not in newer_lines and (line := parse_summary(value))}
    return Index(suite=suite, records=readable, newer=newer_lines, is_of_newer=is_of_newer, **others)


def load_complete(root: str, suite: str) -> Index:
    """Returns the index of all listed entries, whether or not the file holds them."""
    return _build_index(root, suite, load(root, suite).records)


def _build_index(root: str, suite: str, known: dict[str, RecordSummary]) -> Index:
    """Returns the index of all listed and readable entries. Reads the entries that `known` lacks."""
    listed = list_entries(root, suite)
    missing = [entry for entry in listed if entry.key not in known]
    with ThreadPoolExecutor(READS) as pool:
        records = list(pool.map(lambda entry: _read_summary(root, entry), missing))
    known |= {entry.key: summarise_record(record) for entry, record in zip(missing, records, strict=True) if record}
    return Index(suite=suite, records={entry.key: known[entry.key] for entry in listed if entry.key in known})


def add(root: str, records: Iterable[Record]) -> None:
    """Write the records' entries. The caller calls `refresh` on the index files afterwards. Raises NewerSchema."""

    def put(record: Record) -> None:
        uri, content = entry_uri(root, record), record.model_dump_json().encode()
        if not objects.create(uri, content):
            json_files.check_replaceable(uri)
            objects.write(uri, content)

    with ThreadPoolExecutor(READS) as pool:
        list(pool.map(put, records))


def max_lag(runs: int) -> int:
    """Returns how many entries the index file of a suite with this many runs may lack: none below 100 runs."""
    return min(runs // RUNS_PER_LAG, MAX_LAG)


def refresh_if_behind(root: str, suite: str, runs: int, known: Mapping[str, RecordSummary]) -> None:
    """Rewrite the index file if it lacks more entries than `max_lag` allows. `runs` is the number of listed entries.

    Reads only the head of the file when the lag is allowed. Otherwise does what `refresh` does.
    """
    allowed = max_lag(runs)
    count = _read_count(_index_uri(root, suite)) if allowed else None
    if count is None or runs - count > allowed:
        refresh(root, suite, known)


def refresh(root: str, suite: str, known: Mapping[str, RecordSummary] | None = None) -> Index:
    """Rewrite the index file until it holds all listed entries. Returns that index.

    No store that we use can compare and swap, so another writer may replace our file by an older one. Every writer
    therefore reads the file again after writing. If its own file is still there, the file may lack the entries of runs
    that were published meanwhile, as many as `max_lag` allows.
    """
    uri, known = _index_uri(root, suite), dict(known or {})
    written, written_index = b"", Index(suite=suite)
    while True:
        content = _read_file(uri)
        is_ours = bool(written) and content == written
        stored = written_index if is_ours else _parse_file(suite, uri, content)
        rebuilt = _build_index(root, suite, {**stored.records, **known})
        if _are_same_lines(stored.records, rebuilt.records):
            return rebuilt
        if is_ours and len(rebuilt.records.keys() - stored.records.keys()) <= max_lag(len(rebuilt.records)):
            return rebuilt
        known = dict(rebuilt.records)
        if stored.is_of_newer:  # a newer Assay finds our records by their entries
            return rebuilt
        written_index = stored.model_copy(update={"records": rebuilt.records})
        written = _encode_index(written_index)
        objects.write(uri, written)


def _are_same_lines(lines: Mapping[str, RecordSummary], others: Mapping[str, RecordSummary]) -> bool:
    return lines.keys() == others.keys() and all(
        line is others[key] or line.model_dump_json() == others[key].model_dump_json() for key, line in lines.items()
    )


def _encode_index(index: Index) -> bytes:
    """Returns the index file, with the lines and keys of a newer Assay. `count` stands before the lines (`HEAD`)."""
    lines = {key: line.model_dump_json() for key, line in index.records.items()}
    lines |= {key: json.dumps(line, separators=(",", ":")) for key, line in index.newer.items()}
    content = index.model_copy(update={"records": {}, "count": len(lines)}).model_dump(mode="json")
    head, tail = json.dumps(content, separators=(",", ":")).split('"records":{}', 1)
    ordered = sorted(lines, key=_sort_key)
    return f'{head}"records":{{{",".join(f"{json.dumps(key)}:{lines[key]}" for key in ordered)}}}{tail}'.encode()


def _read_count(uri: str) -> int | None:
    """Returns the number of lines that the head of the index file states; None if it states none."""
    try:
        head = HEAD.match(objects.read_range(uri, 0, HEAD_BYTES))
    except (FileNotFoundError, InputError):  # missing, or not a file
        return None
    return int(head[1]) if head else None


def _sort_key(key: str) -> tuple[str, str]:
    """Returns the sort key of a line: entries are sorted by time and run, as `list_entries` sorts them."""
    match = KEY.fullmatch(key)
    return (match[2], match[4]) if match else ("~", key)


def key_of(record: Record) -> str:
    published_at = record.published_at.strftime("%Y%m%dT%H%M%S.%fZ")
    outcome = record.verdict.outcome
    return IndexEntry(
        record.suite, record.series_id, published_at, record.checkpoint.folder, record.run_id, outcome
    ).key


def fits_key(record: Record) -> bool:
    """Whether `list_entries` would find the record's entry: its ids have Assay's form, so they cannot form a path."""
    return bool(re.fullmatch("[A-Za-z0-9][A-Za-z0-9_.-]*", record.suite) and KEY.fullmatch(key_of(record)))


def entry_uri(root: str, record: Record) -> str:
    return f"{root}/index/{record.suite}/{key_of(record)}"


def uri_of(root: str, entry: IndexEntry) -> str:
    return f"{root}/index/{entry.suite}/{entry.key}"


def _index_uri(root: str, suite: str) -> str:
    return f"{root}/index/{suite}/index.json"


def _read_summary(root: str, entry: IndexEntry) -> Record | None:
    """Returns the record of an entry, read from the entry or else from the run itself, which is the truth.

    Returns None, and logs a warning, when neither can be read, or when a newer Assay wrote one: such an entry must not
    stop the reading of the others. Raises RetryableError when the store fails.
    """
    for uri in (uri_of(root, entry), f"{entry.run_uri(root)}/record.json"):
        try:
            record = json_files.load(Record, uri)
            if (record.suite, record.run_id, record.checkpoint.folder) == (
                entry.suite, entry.run_id, entry.checkpoint_folder,
            ):  # fmt: skip
                return record
        except NewerSchema as newer:
            log.warning("index entry left out: %s", newer)
            return None
        except Exception as error:  # the fault may be of this entry alone
            raise_outage(error, f"{root}/index/{entry.suite}")
    log.warning(
        "index entry %s: no record of it can be read, left out; run python -m ray_jobs.records rebuild %s",
        uri_of(root, entry), root,
    )  # fmt: skip
    return None


def _is_newer(line: Any) -> bool:
    try:
        check_schema(line.get("schema", SCHEMA) if isinstance(line, dict) else SCHEMA)
    except NewerSchema:
        return True
    return False
