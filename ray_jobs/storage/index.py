"""Keeps the index over the records of a suite: one object per record, and one file of all that a page reads in one GET.

    index/{suite}/{series_id}/{published_at}--{checkpoint}--{run_id}--{outcome}.json      the entry of a record
    index/{suite}/index.json                                                              all of them, newest last

`storage.records`, the report and `ray_jobs.api` call this module. An entry's key holds all that a search needs. Each
record has an entry of its own, so two concurrent publishers cannot lose each other's. The file is built from the
entries: every publisher rewrites it until it holds all listed entries, so the last writer leaves a complete file. After
a kill, the file can hold fewer records than there are entries, until the next publish or rebuild.
"""

import json
import logging
import math
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from ray_jobs.contract.artifacts import Outcome, Record
from ray_jobs.contract.frozen_model import FrozenModel
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.contract.stored_model import SCHEMA, NewerSchema, StoredModel, check_schema
from ray_jobs.inputs.errors import RetryableError
from ray_jobs.storage import json_files, object_listing, objects
from ray_jobs.storage.odd_items import raise_outage

LARGEST = 64 << 20  # bytes of a record; a larger file is not read, because it is no record
READS = 16  # entries read at once
OURS = frozenset(("schema", "schema_version", "suite", "newer", "is_of_newer"))  # `load` keeps all other keys
# The fields of `IndexEntry`, in its order. A key with other characters is no entry, and no path is built from it.
KEY = re.compile(
    r"([A-Za-z0-9_]+)/(\d{8}T\d{6}\.\d{6}Z)--([A-Za-z0-9_][A-Za-z0-9_.-]*)--([A-Za-z0-9_]+)--([A-Z]+)\.json", re.ASCII
)

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


class RecordSummary(FrozenModel):
    """A published run as the index file lists it. Keys of a newer version are kept."""

    model_config = ConfigDict(
        frozen=True, extra="allow", allow_inf_nan=False, validate_by_name=True, validate_by_alias=True,
        serialize_by_alias=True,
    )  # fmt: skip

    run_id: str
    """The run."""
    run_uri: str
    """The run's folder."""
    series_id: str
    """Runs with the same one can be compared."""
    scoring_id: str = Field(alias="scale_id")
    """Runs with the same one were measured alike."""
    checkpoint: Checkpoint
    """The checkpoint."""
    outcome: Outcome
    """The verdict's outcome."""
    reason: str
    """The verdict's reason."""
    baseline: str | None
    """The name of the checkpoint that it was compared with."""
    published_at: datetime
    """When the run was published."""
    means: dict[str, tuple[float, float | None]]
    """The mean and standard error of each metric, to six significant digits."""
    images: dict[str, int]
    """How many images were read, rejected, captioned, failed and scored."""


class _Lines(BaseModel):
    """The index file before its lines are parsed, so that only an odd line is left out."""

    model_config = ConfigDict(extra="allow")

    records: dict[str, Any] = {}


class Index(StoredModel):
    """`index.json`: all records of a suite, newest last.

    The file is stale while it lacks a readable entry that `list_entries` returns.
    """

    suite: str
    """The suite."""
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


def load(root: str, suite: str) -> Index:
    """Returns the index file in one read, without unreadable lines, because the file can be built again.

    A file of a newer Assay counts as missing: this function logs that, and `refresh` leaves the file as it is. Raises
    RetryableError when the store does not answer.
    """
    uri, lines, others, is_of_newer = _index_uri(root, suite), dict[str, Any](), dict[str, Any](), False
    try:
        content = objects.read(uri, json_files.LARGEST)
        json_files.check(content, uri)
        file = _Lines.model_validate_json(content)
        lines, others = file.records, {key: value for key, value in (file.model_extra or {}).items() if key not in OURS}
    except RetryableError:
        raise
    except NewerSchema as newer:
        log.warning("%s; it is left as it is, and its entries are read one by one", newer)
        is_of_newer = True
    except Exception:  # missing, not JSON or not a file: the caller builds the index from the entries
        lines = {}
    newer_lines = {key: value for key, value in lines.items() if _is_newer(value)}
    readable = {key: line for key, value in lines.items() if key not in newer_lines and (line := _parse_summary(value))}
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


def refresh(root: str, suite: str, known: Mapping[str, RecordSummary] | None = None) -> Index:
    """Rewrite the index file until it holds all listed entries. Returns that index.

    No store that we use can compare and swap, so another writer may replace our file by an older one. Every writer
    therefore reads the file again after writing.
    """
    while True:
        stored = load(root, suite)
        rebuilt = _build_index(root, suite, {**stored.records, **(known or {})})
        content = _encode_index(stored, rebuilt.records)
        if content == _encode_index(stored, stored.records):
            return rebuilt
        known = rebuilt.records
        if stored.is_of_newer:  # a newer Assay finds our records by their entries
            return rebuilt
        objects.write(_index_uri(root, suite), content)


def _encode_index(stored: Index, records: Mapping[str, RecordSummary]) -> bytes:
    """Returns the index file with these lines, and with the lines and keys of a newer Assay that were in it."""
    content = stored.model_copy(update={"records": records}).model_dump(mode="json")
    lines = content["records"] | stored.newer
    content["records"] = dict(sorted(lines.items(), key=lambda line: _sort_key(line[0])))
    return json.dumps(content, separators=(",", ":")).encode()


def _sort_key(key: str) -> tuple[str, str]:
    """Returns the sort key of a line: entries are sorted by time and run, as `list_entries` sorts them."""
    match = KEY.fullmatch(key)
    return (match[2], match[4]) if match else ("~", key)


def summarise_record(record: Record) -> RecordSummary:
    """Returns a record's line in the index file."""
    means = {
        name: (
            _round_value(summary.mean),
            None if summary.standard_error is None else _round_value(summary.standard_error),
        )
        for name, summary in record.metrics.items()
        if summary.mean is not None and math.isfinite(summary.mean) and math.isfinite(summary.standard_error or 0)
    }
    baseline = record.verdict.baseline
    return RecordSummary(
        reason=record.verdict.reason,
        outcome=record.verdict.outcome,
        baseline=baseline.checkpoint.name if baseline else None,
        means=means,
        **{
            name: getattr(record, name)
            for name in ("run_id", "run_uri", "series_id", "scoring_id", "checkpoint", "published_at", "images")
        },
    )


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


def _parse_summary(value: Any) -> RecordSummary | None:
    """Returns a line of the index file with all its keys, None if it is not readable."""
    try:
        return RecordSummary.model_validate(value, extra="allow")
    except ValueError:
        return None


def _round_value(value: float) -> float:
    return float(f"{value:.6g}")
