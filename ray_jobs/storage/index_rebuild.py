"""Rebuilds the index of published runs from their records, which are the truth.

`assay records rebuild` calls this module. An odd record, or a file that Assay did not write, does not stop the others.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from ray_jobs.contract.artifacts import Record
from ray_jobs.contract.stored_model import NewerSchema
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.inputs.names import printable
from ray_jobs.storage import index, json_files, object_listing, objects
from ray_jobs.storage.index import IndexEntry, list_entries
from ray_jobs.storage.odd_items import describe, raise_outage
from ray_jobs.storage.record_summary import RecordSummary, summarise_record
from ray_jobs.storage.records import PUBLISH_AGAIN, read_or_explain


class IndexedRecord(NamedTuple):
    """A record with its entry in the index, as the rebuild keeps it: without the histograms of its metrics."""

    suite: str
    key: str
    entry_uri: str
    summary: RecordSummary


def rebuild_index(root: str) -> tuple[int, list[str]]:
    """Rewrite the index from the records and delete entries without a record.

    Returns the number of records in the index, and one line per record or suite that is left out, with the reason.
    """
    listed = [entry for entry in object_listing.iterate_entries(f"{root}/runs") if entry.key.endswith("/record.json")]
    stored = _list_stored_entries(root)
    with ThreadPoolExecutor(index.READS) as pool:
        outcomes = list(pool.map(lambda entry: _add_entry(root, entry, stored), listed))
    records = [outcome for outcome in outcomes if isinstance(outcome, IndexedRecord)]
    left_out = [outcome for outcome in outcomes if isinstance(outcome, str)]
    wanted = {record.entry_uri for record in records}
    for suite in object_listing.list_subfolders(f"{root}/index"):
        try:
            _rebuild_suite(root, suite, records, wanted)
        except Exception as error:  # a folder or a file that Assay did not write
            raise_outage(error, f"{root}/index")
            left_out.append(f"{root}/index/{printable(suite)}: {describe(error)}")
    return len(records), left_out


def _list_stored_entries(root: str) -> dict[str, object_listing.Entry]:
    """Returns all objects of the index by their URIs; none if one cannot be listed, so that each is written again."""
    try:
        return {f"{root}/index/{entry.key}": entry for entry in object_listing.iterate_entries(f"{root}/index")}
    except Exception as error:
        raise_outage(error, f"{root}/index")
        return {}


def _rebuild_suite(root: str, suite: str, records: list[IndexedRecord], wanted: set[str]) -> None:
    """Delete the suite's entries that no record has, and write its index file."""
    entries = list_entries(root, suite)
    entry_counts = Counter(entry.run_uri(root) for entry in entries)
    for entry in entries:  # a run may have been published since the listing: its record is read again
        uri = index.uri_of(root, entry)
        is_doubtful = uri not in wanted or entry_counts[entry.run_uri(root)] > 1
        if is_doubtful and not _is_newer(root, entry) and not _is_of_its_record(root, entry):
            objects.delete(uri)
    index.refresh(root, suite, {record.key: record.summary for record in records if record.suite == suite})


def _add_entry(
    root: str, listed: object_listing.Entry, stored: Mapping[str, object_listing.Entry]
) -> IndexedRecord | str:
    """Write the entry of a listed record unless it is stored. Returns the record, or the reason why it is left out.

    Raises only when the store fails: an odd record must not stop the others.
    """
    run_uri = f"{root}/runs/{listed.key.removesuffix('/record.json')}"
    uri = f"{printable(run_uri, 500)}/record.json"
    if listed.size > index.LARGEST:
        return f"{uri}: {listed.size} bytes, which is no record"
    try:
        record = read_or_explain(run_uri)
    except NewerSchema as newer:
        return describe(newer)
    if isinstance(record, str):
        return record
    if not _is_in_its_place(record, run_uri) or not index.fits_key(record):
        return f"{uri}: its ids do not fit its folder{PUBLISH_AGAIN}"
    entry_uri = index.entry_uri(root, record)
    try:
        if not _holds(stored.get(entry_uri), entry_uri, record.model_dump_json().encode()):
            index.add(root, [record])
    except NewerSchema as newer:
        return describe(newer)
    except Exception as error:  # a name too long for a file, or a folder in the entry's place
        raise_outage(error, root)
        return f"{uri}: {describe(error)}{PUBLISH_AGAIN}"
    return IndexedRecord(record.suite, index.key_of(record), entry_uri, summarise_record(record))


def _holds(entry: object_listing.Entry | None, uri: str, content: bytes) -> bool:
    """Whether the listed object has this content. On most stores its version is the MD5, so nothing is read."""
    if entry is None or entry.size != len(content):
        return False
    return entry.version == hashlib.md5(content, usedforsecurity=False).hexdigest() or objects.read(uri) == content


def _is_in_its_place(record: Record, run_uri: str) -> bool:
    """Whether the record belongs to this run. The root may have been at another place when the record was written."""
    return run_uri.endswith(f"/runs/{record.checkpoint.folder}/{record.run_id}")


def _is_newer(root: str, entry: IndexEntry) -> bool:
    """Whether a newer Assay wrote the entry or its record. A file that cannot be read counts as not newer."""
    for uri in (index.uri_of(root, entry), f"{entry.run_uri(root)}/record.json"):
        try:
            file = object_listing.find_entry(uri)
            if file is not None and file.size <= index.LARGEST:
                json_files.check_replaceable(uri)
        except NewerSchema:
            return True
        except (InputError, RetryableError) as error:  # a folder, a FIFO or a link in its place
            raise_outage(error, root)
    return False


def _is_of_its_record(root: str, entry: IndexEntry) -> bool:
    file = object_listing.find_entry(f"{entry.run_uri(root)}/record.json")
    if file is None or file.size > index.LARGEST:
        return False
    record = read_or_explain(entry.run_uri(root))
    return isinstance(record, Record) and index.entry_uri(root, record) == index.uri_of(root, entry)
