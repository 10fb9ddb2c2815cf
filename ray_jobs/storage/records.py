"""Publishes the records of runs, and reads them.

The programs `publish` and `evaluate`, `assay records` and the control plane call this module. The truth is
`runs/{checkpoint}/{run_id}/record.json`. An index over the records (`index`) makes them quick to list; `rebuild_index`
rebuilds it.
"""

from datetime import timedelta

from ray_jobs.contract.artifacts import Record, Verdict
from ray_jobs.contract.stored_model import NewerSchema
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.inputs.names import printable
from ray_jobs.storage import index, json_files, objects, uris
from ray_jobs.storage.index import list_entries
from ray_jobs.storage.odd_items import describe, raise_outage
from ray_jobs.storage.record_summary import summarise_record

PUBLISH_AGAIN = "; publish that run again"  # the remedy for a record that this version can write again


def publish(root: str, record: Record, replace: bool = False) -> Record:
    """Write the run's record and its entry in the index. Returns the record that is stored afterwards.

    An earlier record of the run stays, unless its content differs and either its outcome is INCOMPLETE or `replace` is
    set. An unreadable record is replaced. While its outcome stays the same, a run keeps its place in the series, so
    that running it again moves no other run's baseline or anchor. Raises NewerSchema for a run that a newer Assay
    published: its record and its entry stay as they are.
    """
    uri = f"{record.run_uri}/record.json"
    if not objects.create(uri, record.model_dump_json(indent=1).encode()):
        current = _load_current(record.run_uri)
        if current is None or ((replace or current.verdict.outcome == "INCOMPLETE") and _differs(current, record)):
            objects.write(uri, _keep_place(record, current).model_dump_json(indent=1).encode())
    current, entries, has_replaced = _replace_entry(root, record.run_uri)
    line = {index.key_of(current): summarise_record(current)}
    if has_replaced:  # the count of the file's lines does not show that one of them is outdated
        index.refresh(root, record.suite, line)
    else:
        index.refresh_if_behind(root, record.suite, entries, line)
    return current


def _load_current(run_uri: str) -> Record | None:
    """Returns the record of a run; None if it is not readable, because `publish` can build it again from its files."""
    try:
        return read(run_uri)
    except ValueError:
        return None


def _differs(record: Record, other: Record) -> bool:
    return record.model_dump_json(exclude={"published_at"}) != other.model_dump_json(exclude={"published_at"})


def _keep_place(record: Record, current: Record | None) -> Record:
    """Returns the record with the time of the record that it replaces, if the two have the same outcome.

    The new time is some microseconds later, because an entry's key must stand for one content. With the same key, an
    index file with the old content would not look stale. The number of microseconds comes from the clock, so that two
    concurrent replacements do not share a key.
    """
    if current is None or current.verdict.outcome != record.verdict.outcome:
        return record
    later = timedelta(microseconds=1 + record.published_at.microsecond % 1000)
    return record.model_copy(update={"published_at": current.published_at + later})


def _replace_entry(root: str, run_uri: str) -> tuple[Record, int, bool]:
    """Write the entry of the run's record and remove the entries of the records that it replaced.

    Returns the record, the number of the suite's entries, and whether an entry was removed. The new entry is written
    first, so a kill can leave one entry too many, but never none. Each publisher reads the record again afterwards: if
    another publisher replaced it meanwhile, this one writes the newer entry too.
    """
    has_replaced = False
    while True:
        record = read(run_uri)
        index.add(root, [record])
        entries = list_entries(root, record.suite)
        outdated = [
            entry
            for entry in entries
            if entry.run_id == record.run_id
            and entry.series_id == record.series_id
            and entry.checkpoint_folder == record.checkpoint.folder
            and entry.key != index.key_of(record)
        ]
        for entry in outdated:
            json_files.remove(index.uri_of(root, entry))
        has_replaced = has_replaced or bool(outdated)
        if index.key_of(read(run_uri)) == index.key_of(record):
            return record, len(entries) - len(outdated), has_replaced


def has_final_verdict(run_uri: str) -> bool:
    """Whether the run has a final verdict: any but INCOMPLETE, which runs again. Raises NewerSchema."""
    try:
        verdict = json_files.load(Verdict, f"{run_uri}/verdict.json")
    except (FileNotFoundError, ValueError):
        return False
    return verdict.outcome != "INCOMPLETE"


def results_uri(run_uri: str, verdict: Verdict) -> str:
    """Returns the folder with the verdict's scores.json and report.html: the run's, or a forced request's below it."""
    return f"{run_uri}/{verdict.folder}" if verdict.folder else run_uri


def read(run_uri: str) -> Record:
    """Returns the record of a run. Raises FileNotFoundError for an unpublished run, and as `json_files.load` does."""
    return json_files.load(Record, f"{run_uri}/record.json")


def load(uri: str) -> Record:
    """Returns the record at the URI of a run or of its record.json.

    Raises InputError when the record is missing or not readable, and NewerSchema.
    """
    run_uri = run_uri_of(uri)
    record = read_or_explain(run_uri)
    if isinstance(record, Record):
        return record
    if not objects.exists(f"{run_uri}/record.json"):
        raise InputError(
            f"run {printable(run_uri, 500)}: no record.json there; name a published run's folder or its record.json"
        )
    raise InputError(record)


def run_uri_of(uri: str) -> str:
    """Returns the URI of a run, given that URI or the URI of its record.json."""
    return uris.make_absolute(uri.removesuffix("/record.json"))


def read_or_explain(run_uri: str) -> Record | str:
    """Returns the record, or why there is none. Raises RetryableError if the store fails, and NewerSchema."""
    try:
        return read(run_uri)
    except NewerSchema:
        raise
    except Exception as error:
        raise_outage(error, run_uri.rsplit("/runs/", 1)[0])
        return f"{printable(run_uri, 500)}/record.json: {_describe_fault(error)}{PUBLISH_AGAIN}"


def _describe_fault(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is none"
    return (
        describe(error)
        if isinstance(error, InputError | RetryableError)
        else f"not a record of this version ({type(error).__name__})"
    )
