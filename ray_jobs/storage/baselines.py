"""Finds the runs that a new checkpoint is compared with: its baseline and its anchor.

`plan` calls this module. Both runs come from the spec's series: the runs with the same images, prompt and
engine settings.
"""

import logging
from collections.abc import Iterator

from ray_jobs.contract.artifacts import Record
from ray_jobs.contract.spec import Baseline, Spec
from ray_jobs.contract.stored_model import NewerSchema
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import decisions, index, specs, uris
from ray_jobs.storage.index import IndexEntry, list_entries
from ray_jobs.storage.odd_items import describe
from ray_jobs.storage.records import PUBLISH_AGAIN, read_or_explain

log = logging.getLogger("assay")


def find_baseline(spec: Spec, requested: str, entries: list[IndexEntry] | None = None) -> Baseline | None:
    """Returns the run to compare with, for `last-accepted`, `previous`, a checkpoint's URI or a run's URI; None for
    `none`.

    `last-accepted` is the run of another checkpoint that was accepted last, by its verdict or by a person
    (`decisions.list_accepted`). `previous` is the run of another checkpoint that was published last with any verdict
    but INCOMPLETE. A run that is requested again in the same words keeps its baseline, so the same question gets the
    same answer. Only a run that lost its baseline to an upgrade looks for a new one. `entries` are those of the series,
    if they are listed already. Raises InputError when a named baseline has no record in this series (same images,
    prompt and engine settings).
    """
    if requested == "none":
        return None
    if requested not in ("last-accepted", "previous"):
        return _find_named_run(spec, requested, "baseline")
    entries = list_series(spec) if entries is None else entries
    for earlier in iterate_earlier_specs(spec, entries):
        if earlier.suite.gate.baseline == requested and not earlier.has_lost_baseline:
            return earlier.baseline
    if requested == "last-accepted":
        candidates = list_accepted(spec, entries)
    else:
        candidates = [entry for entry in entries if entry.outcome != "INCOMPLETE"]
    others = [entry for entry in candidates if entry.checkpoint_folder != spec.checkpoint.folder]
    return _choose_readable(spec.root, others[::-1], f"baseline {requested}")


def find_anchor(spec: Spec, requested: str | None, entries: list[IndexEntry] | None = None) -> Baseline | None:
    """Returns the anchor: a second run to compare with, which stays the same while the baseline moves.

    `first` is the first accepted run of the series; any other text is the URI of a run or checkpoint. Returns None when
    the anchor would be the checkpoint itself or the spec's baseline. `entries` and errors are as in `find_baseline`.
    """
    if requested is None:
        return None
    if requested == "first":
        entries = list_series(spec) if entries is None else entries
        for earlier in iterate_earlier_specs(spec, entries):
            is_same_request = (earlier.suite.gate.anchor, earlier.suite.gate.baseline) == (
                requested,
                spec.suite.gate.baseline,
            )
            if is_same_request and not (earlier.has_lost_baseline or earlier.has_lost_anchor):
                return earlier.anchor
        anchor = _choose_readable(spec.root, list_accepted(spec, entries), f"anchor {requested}")
    else:
        anchor = _find_named_run(spec, requested, "anchor")
    if anchor is None or anchor.checkpoint.fingerprint == spec.checkpoint.fingerprint:
        return None
    return None if spec.baseline and spec.baseline.run_id == anchor.run_id else anchor


def list_series(spec: Spec) -> list[IndexEntry]:
    """Returns the entries of the spec's series, oldest first. On S3 a request lists 1,000 of them."""
    return list_entries(spec.root, spec.suite.name, spec.series_id)


def list_accepted(spec: Spec, entries: list[IndexEntry]) -> list[IndexEntry]:
    """Returns the accepted runs among the entries of the spec's suite, in the order in which they were accepted."""
    if not entries:
        return []
    written = decisions.list_decisions(spec.root, spec.suite.name)
    return decisions.list_accepted(entries, written, "PASS" in spec.suite.gate.ask)


def iterate_earlier_specs(spec: Spec, entries: list[IndexEntry]) -> Iterator[Spec]:
    """Yields the specs of this checkpoint's runs in the series, the first run first."""
    for entry in entries:
        if entry.checkpoint_folder == spec.checkpoint.folder:
            yield from specs.iterate_specs(entry.run_uri(spec.root))


def _find_named_run(spec: Spec, requested: str, role: str) -> Baseline:
    """Returns the last run in the spec's series whose own URI or checkpoint's URI is `requested`.

    Raises InputError when there is none.
    """
    uri = uris.make_absolute(requested)
    lines = index.load_complete(spec.root, spec.suite.name).records
    entries = [
        index.entry_of_key(spec.suite.name, key)
        for key, line in lines.items()
        if key.startswith(f"{spec.series_id}/") and uri in (line.run_uri, line.checkpoint.uri)
    ]
    if not entries:
        raise InputError(
            f"{role} {requested}: no record of it in suite {spec.suite.name} with these images and this prompt; "
            "validate it first"
        )
    return _load_baseline(spec.root, entries[-1], f"{role} {requested}")


def _choose_readable(root: str, entries: list[IndexEntry], requested: str) -> Baseline | None:
    """Returns the run of the first entry whose record is readable and agrees with the entry; None without entries.

    Raises InputError, about the first entry, when there are entries and no record is usable: that is not the
    same as nothing to compare with. Raises NewerSchema for the record of a newer Assay: if it were skipped, the
    verdict would compare with another run than the requested one.
    """
    first_error: InputError | None = None
    for entry in entries:
        try:
            return _load_baseline(root, entry, requested)
        except NewerSchema:
            raise
        except InputError as error:
            first_error = first_error or error
            log.warning("passed over: %s", describe(error))
    if first_error:
        raise first_error
    return None


def _load_baseline(root: str, entry: IndexEntry, requested: str) -> Baseline:
    record = read_or_explain(entry.run_uri(root))
    if isinstance(record, Record) and not _agrees_with(record, entry):
        record = f"{entry.run_uri(root)}/record.json: not what its entry in the index says{PUBLISH_AGAIN}"
    if isinstance(record, str):
        remedy = (
            f", or leave it out with python -m ray_jobs.records rebuild {root}"
            if record.endswith(PUBLISH_AGAIN)
            else ""
        )
        raise InputError(f"{requested}: {record}{remedy}")
    return Baseline(
        run_id=record.run_id, run_uri=record.run_uri, caption_id=record.caption_id, checkpoint=record.checkpoint
    )


def _agrees_with(record: Record, entry: IndexEntry) -> bool:
    """Whether the record agrees with the entry in run, series and outcome."""
    return entry[1:2] + entry[3:] == (
        record.series_id, record.checkpoint.folder, record.run_id, record.verdict.outcome,
    )  # fmt: skip
