"""Publishes the records of runs, and finds the runs that a new checkpoint is compared with.

`plan`, `publish`, `evaluate` and the control plane call this module. The truth is
`runs/{checkpoint}/{run_id}/record.json`. `python -m ray_jobs.records rebuild ROOT` rebuilds the index over the records
(`ray_jobs/storage/index.py`).
"""

import logging
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from ray_jobs.contract.artifacts import Record, Verdict
from ray_jobs.contract.spec import Baseline, Spec
from ray_jobs.contract.stored_model import NewerSchema
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.inputs.names import printable
from ray_jobs.storage import index, json_files, objects, specs
from ray_jobs.storage.index import IndexEntry, list_entries
from ray_jobs.storage.odd_items import describe, raise_outage

log = logging.getLogger("assay")

AGAIN = "; publish that run again"  # the remedy for a record that this version can write again

__all__ = [
    "IndexEntry",
    "anchor_for",
    "baseline_for",
    "has_final_verdict",
    "iterate_earlier_specs",
    "list_entries",
    "publish",
    "read",
    "rebuild",
    "results_uri",
]  # fmt: skip


def publish(root: str, record: Record, replace: bool = False) -> Record:
    """Write the run's record and its entry in the index. Returns the record that is stored afterwards.

    An earlier record of the run stays, unless its content differs and either its outcome is INCOMPLETE or `replace` is
    set. An unreadable record is replaced. While its outcome stays the same, a run keeps its place in the series, so
    that running it again moves no other run's baseline or anchor. Raises NewerSchema for a run that a newer Assay
    published: its record and its entry stay as they are.
    """
    uri = f"{record.run_uri}/record.json"
    if not objects.create(uri, record.model_dump_json(indent=1).encode()):
        standing = _load_current(record.run_uri)
        if standing is None or ((replace or standing.verdict.outcome == "INCOMPLETE") and _differs(standing, record)):
            objects.write(uri, _keep_place(record, standing).model_dump_json(indent=1).encode())
    standing = _replace_entry(root, record.run_uri)
    index.refresh(root, record.suite, {index.key_of(standing): index.summarise_record(standing)})
    return standing


def _load_current(run_uri: str) -> Record | None:
    """Returns the record of a run, None if it is not readable: the files it was built from allow to build it again."""
    try:
        return read(run_uri)
    except ValueError:
        return None


def _differs(one: Record, other: Record) -> bool:
    return one.model_dump_json(exclude={"published_at"}) != other.model_dump_json(exclude={"published_at"})


def _keep_place(record: Record, standing: Record | None) -> Record:
    """Returns the record with the time of the record that it replaces, if the two have the same outcome.

    The new time is some microseconds later, because an entry's key must stand for one content only: with the same key,
    an index file of the old content would not look stale. The number of microseconds comes from the clock, so that two
    concurrent replacements do not share a key.
    """
    if standing is None or standing.verdict.outcome != record.verdict.outcome:
        return record
    later = timedelta(microseconds=1 + record.published_at.microsecond % 1000)
    return record.model_copy(update={"published_at": standing.published_at + later})


def _replace_entry(root: str, run_uri: str) -> Record:
    """Write the entry of the run's record and remove the entries of the records that it replaced. Returns the record.

    The new entry is written first, so a kill can leave one entry too many, but never none. Each publisher reads the
    record again afterwards: if another publisher replaced it meanwhile, this one writes the newer entry too.
    """
    while True:
        record = read(run_uri)
        index.add(root, [record])
        for entry in list_entries(root, record.suite, record.series_id):
            of_the_run = entry.run_id == record.run_id and entry.checkpoint_folder == record.checkpoint.folder
            if of_the_run and entry.key != index.key_of(record):
                json_files.remove(index.uri_of(root, entry))
        if index.key_of(read(run_uri)) == index.key_of(record):
            return record


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
    record = _read_or_explain(run_uri)
    if isinstance(record, Record):
        return record
    if not objects.exists(f"{run_uri}/record.json"):
        raise InputError(
            f"run {printable(run_uri, 500)}: no record.json there; name a published run's folder or its record.json"
        )
    raise InputError(record)


def run_uri_of(uri: str) -> str:
    """Returns the URI of a run, given that URI or the URI of its record.json."""
    return objects.absolute(uri.removesuffix("/record.json"))


def baseline_for(spec: Spec, asked: str) -> Baseline | None:
    """Returns the run to compare with, for `last-accepted`, `previous`, a checkpoint's URI or a run's URI; None for
    `none`.

    `previous` is the run of another checkpoint that was published last with any verdict but INCOMPLETE. A run that is
    requested again in the same words keeps its baseline, so the same question gets the same answer. Only a run that
    lost its baseline to an upgrade looks for a new one. Raises InputError when a named baseline has no record in this
    run's series (same images, prompt and engine settings).
    """
    if asked == "none":
        return None
    entries = list_entries(spec.root, spec.suite.name, spec.series_id)
    if asked not in ("last-accepted", "previous"):
        return _find_baseline(spec, asked, "baseline")
    for had in iterate_earlier_specs(spec, entries):
        if had.suite.gate.baseline == asked and not had.lost_baseline:
            return had.baseline
    taken = ("PASS",) if asked == "last-accepted" else ("PASS", "FAIL", "INCONCLUSIVE")
    others = [
        entry for entry in entries if entry.checkpoint_folder != spec.checkpoint.folder and entry.outcome in taken
    ]
    return _first_readable(spec.root, others[::-1], f"baseline {asked}")


def anchor_for(spec: Spec, asked: str | None) -> Baseline | None:
    """Returns the anchor, the fixed run to compare with as well.

    `first` is the first accepted run of the series; any other text is the URI of a run or checkpoint. Returns None when
    the anchor would be the checkpoint itself or the spec's baseline. Raises InputError as `baseline_for` does.
    """
    if asked is None:
        return None
    entries = list_entries(spec.root, spec.suite.name, spec.series_id)
    if asked == "first":
        for had in iterate_earlier_specs(spec, entries):
            in_the_same_words = (had.suite.gate.anchor, had.suite.gate.baseline) == (asked, spec.suite.gate.baseline)
            if in_the_same_words and not (had.lost_baseline or had.lost_anchor):
                return had.anchor
        accepted = [entry for entry in entries if entry.outcome == "PASS"]
        anchor = _first_readable(spec.root, accepted, f"anchor {asked}")
    else:
        anchor = _find_baseline(spec, asked, "anchor")
    if anchor is None or anchor.checkpoint.fingerprint == spec.checkpoint.fingerprint:
        return None
    return None if spec.baseline and spec.baseline.run_id == anchor.run_id else anchor


def rebuild(root: str) -> tuple[int, list[str]]:
    """Rewrite the index from the records and delete entries without a record.

    Returns the number of records in the index, and one line per record or suite that is left out, with the reason.
    """
    listed = [entry for entry in objects.entries(f"{root}/runs") if entry.key.endswith("/record.json")]
    with ThreadPoolExecutor(index.READS) as pool:
        outcomes = list(pool.map(lambda entry: _add_entry(root, entry), listed))
    records = [outcome for outcome in outcomes if isinstance(outcome, Record)]
    left_out = [outcome for outcome in outcomes if isinstance(outcome, str)]
    wanted = {index.entry_uri(root, record) for record in records}
    for suite in objects.folders(f"{root}/index"):
        try:
            _rebuild_suite(root, suite, records, wanted)
        except Exception as error:  # a folder or a file that Assay did not write
            raise_outage(error, f"{root}/index")
            left_out.append(f"{root}/index/{printable(suite)}: {describe(error)}")
    return len(records), left_out


def _rebuild_suite(root: str, suite: str, records: list[Record], wanted: set[str]) -> None:
    """Delete the suite's entries that no record has, and write its index file."""
    entries = list_entries(root, suite)
    of_a_run = Counter(entry.run_uri(root) for entry in entries)
    for entry in entries:  # a run published since the listing has doubtful entries, so its record is read again
        uri = index.uri_of(root, entry)
        doubtful = uri not in wanted or of_a_run[entry.run_uri(root)] > 1
        if doubtful and not _is_newer(root, entry) and not _is_of_its_record(root, entry):
            objects.delete(uri)
    mine = (record for record in records if record.suite == suite)
    index.refresh(root, suite, {index.key_of(record): index.summarise_record(record) for record in mine})


def _add_entry(root: str, listed: objects.Entry) -> Record | str:
    """Write the entry of a listed record. Returns the record, or the reason why it is left out.

    Raises only when the store fails: an odd record must not stop the others.
    """
    run_uri = f"{root}/runs/{listed.key.removesuffix('/record.json')}"
    uri = f"{printable(run_uri, 500)}/record.json"
    if listed.size > index.LARGEST:
        return f"{uri}: {listed.size} bytes, which is no record"
    try:
        record = _read_or_explain(run_uri)
    except NewerSchema as newer:
        return describe(newer)
    if isinstance(record, str):
        return record
    if not _is_in_its_place(record, run_uri) or not index.fits_key(record):
        return f"{uri}: its ids do not fit its folder{AGAIN}"
    try:
        index.add(root, [record])
    except NewerSchema as newer:
        return describe(newer)
    except Exception as error:  # a name too long for a file, or a folder in the entry's place
        raise_outage(error, root)
        return f"{uri}: {describe(error)}{AGAIN}"
    return record


def _is_in_its_place(record: Record, run_uri: str) -> bool:
    """Whether the record belongs to this run, even if the root was at another place when it was written."""
    return run_uri.endswith(f"/runs/{record.checkpoint.folder}/{record.run_id}")


def _read_or_explain(run_uri: str) -> Record | str:
    """Returns the record, or why there is none. Raises RetryableError if the store fails, and NewerSchema."""
    try:
        return read(run_uri)
    except NewerSchema:
        raise
    except Exception as error:
        raise_outage(error, run_uri.rsplit("/runs/", 1)[0])
        return f"{printable(run_uri, 500)}/record.json: {_why(error)}{AGAIN}"


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is none"
    return (
        describe(error)
        if isinstance(error, InputError | RetryableError)
        else f"not a record of this version ({type(error).__name__})"
    )


def _is_newer(root: str, entry: IndexEntry) -> bool:
    """Whether a newer Assay wrote the entry or its record. A file that cannot be read counts as not newer."""
    for uri in (index.uri_of(root, entry), f"{entry.run_uri(root)}/record.json"):
        try:
            file = objects.entry(uri)
            if file is not None and file.size <= index.LARGEST:
                json_files.check_replaceable(uri)
        except NewerSchema:
            return True
        except (InputError, RetryableError) as error:  # a folder, a FIFO or a link in its place
            raise_outage(error, root)
    return False


def _is_of_its_record(root: str, entry: IndexEntry) -> bool:
    file = objects.entry(f"{entry.run_uri(root)}/record.json")
    if file is None or file.size > index.LARGEST:
        return False
    record = _read_or_explain(entry.run_uri(root))
    return isinstance(record, Record) and index.entry_uri(root, record) == index.uri_of(root, entry)


def iterate_earlier_specs(spec: Spec, entries: list[IndexEntry]) -> Iterator[Spec]:
    """Yields the specs of this checkpoint's runs in the series, the first run first."""
    for entry in entries:
        if entry.checkpoint_folder == spec.checkpoint.folder:
            yield from specs.iterate_specs(entry.run_uri(spec.root))


def _find_baseline(spec: Spec, asked: str, what: str) -> Baseline:
    """Returns the last run in the spec's series whose own URI or checkpoint's URI is `asked`.

    Raises InputError when there is none.
    """
    uri = objects.absolute(asked)
    lines = index.load_complete(spec.root, spec.suite.name).records
    entries = {entry.key: entry for entry in list_entries(spec.root, spec.suite.name, spec.series_id)}
    named = [key for key, line in lines.items() if key in entries and uri in (line.run_uri, line.checkpoint.uri)]
    if not named:
        raise InputError(
            f"{what} {asked}: no record of it in suite {spec.suite.name} with these images and this prompt; "
            "validate it first"
        )
    return _baseline_of(spec.root, entries[named[-1]], f"{what} {asked}")


def _first_readable(root: str, entries: list[IndexEntry], asked: str) -> Baseline | None:
    """Returns the run of the first entry whose record is readable and agrees with the entry; None without entries.

    Raises InputError, about the first entry, when there are entries and no record is usable: that differs from
    "nothing to compare with". Raises NewerSchema for the record of a newer Assay: to skip it would compare with
    another run than the requested one.
    """
    refused = None
    for entry in entries:
        try:
            return _baseline_of(root, entry, asked)
        except NewerSchema:
            raise
        except InputError as error:
            refused = refused or error
            log.warning("passed over: %s", describe(error))
    if refused:
        raise refused
    return None


def _baseline_of(root: str, entry: IndexEntry, asked: str) -> Baseline:
    record = _read_or_explain(entry.run_uri(root))
    if isinstance(record, Record) and not _is_of(record, entry):
        record = f"{entry.run_uri(root)}/record.json: not what its entry in the index says{AGAIN}"
    if isinstance(record, str):
        remedy = f", or leave it out with python -m ray_jobs.records rebuild {root}" if record.endswith(AGAIN) else ""
        raise InputError(f"{asked}: {record}{remedy}")
    return Baseline(
        run_id=record.run_id, run_uri=record.run_uri, caption_id=record.caption_id, checkpoint=record.checkpoint
    )


def _is_of(record: Record, entry: IndexEntry) -> bool:
    """Whether the record agrees with the entry in run, series and outcome."""
    return entry[1:2] + entry[3:] == (
        record.series_id, record.checkpoint.folder, record.run_id, record.verdict.outcome,
    )  # fmt: skip
