"""Records in storage: which checkpoints were validated, and what a new one is compared with.

`runs/{checkpoint}/{run_id}/record.json` is the truth; `python -m ray_jobs.records rebuild ROOT` makes the index over
them (`ray_jobs/index.py`) anew.
"""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from ray_jobs import index, storage
from ray_jobs.contract import BadInput, Baseline, Record, Spec, Trouble
from ray_jobs.index import Published, published

__all__ = ["Published", "anchor_for", "baseline_for", "publish", "published", "read", "rebuild"]


def publish(root: str, record: Record) -> Record:
    """Write the run's record, once: a run asked for again keeps the record it has, which is returned."""
    uri = f"{record.run_uri}/record.json"
    if not storage.create(uri, record.model_dump_json(indent=1).encode()):
        record = read(record.run_uri)
    index.add(root, [record])
    index.refresh(root, record.suite, {index.key_of(record): index.indexed(record)})
    return record


def read(run_uri: str) -> Record:
    """The record of a run. Raises FileNotFoundError where none was published."""
    return Record.model_validate_json(storage.read(f"{run_uri}/record.json"))


def baseline_for(spec: Spec, asked: str) -> Baseline | None:
    """The run to compare with: `last-accepted`, `previous`, `none`, a checkpoint's URI or a run's URI.

    `previous` is the run of another checkpoint that was published last, whatever its verdict, INCOMPLETE excepted. A
    run asked for again in the same words keeps the baseline it had, so the same question gets the same answer. Raises
    BadInput when a named baseline has no record in this run's series (same images, prompt and engine settings).
    """
    if asked == "none":
        return None
    entries = published(spec.root, spec.suite.name, spec.series_id)
    if asked not in ("last-accepted", "previous"):
        return _named(spec, asked, "baseline")
    for had in _asked_before(spec, entries):
        if had.suite.gate.baseline == asked:
            return had.baseline
    taken = ("PASS",) if asked == "last-accepted" else ("PASS", "FAIL", "INCONCLUSIVE")
    others = [one for one in entries if one.checkpoint_folder != spec.checkpoint.folder and one.outcome in taken]
    return _baseline(spec.root, others[-1]) if others else None


def anchor_for(spec: Spec, asked: str | None) -> Baseline | None:
    """The frozen run to compare with as well: `first`, the first accepted run of the series, or the URI of a run or
    checkpoint. None when that is the checkpoint itself or the spec's baseline. Raises BadInput as `baseline_for`."""
    if asked is None:
        return None
    entries = published(spec.root, spec.suite.name, spec.series_id)
    if asked == "first":
        for had in _asked_before(spec, entries):
            if had.suite.gate.anchor == asked:
                return had.anchor
        accepted = [entry for entry in entries if entry.outcome == "PASS"]
        found = _baseline(spec.root, accepted[0]) if accepted else None
    else:
        found = _named(spec, asked, "anchor")
    if found is None or found.checkpoint.fingerprint == spec.checkpoint.fingerprint:
        return None
    return None if spec.baseline and spec.baseline.run_id == found.run_id else found


def rebuild(root: str) -> int:
    """Write the index anew from the records and drop entries that have none; the number of records."""
    uris = [
        f"{root}/runs/{entry.key.removesuffix('/record.json')}"
        for entry in storage.entries(f"{root}/runs")
        if entry.key.endswith("/record.json")
    ]
    with ThreadPoolExecutor(index.READS) as pool:
        records = list(pool.map(_readable, uris))
    index.add(root, records)
    wanted = {index.entry_uri(root, record) for record in records}
    for suite in storage.folders(f"{root}/index"):
        for entry in published(root, suite):
            uri = f"{root}/index/{suite}/{entry.key}"
            if uri not in wanted and not storage.exists(f"{entry.run_uri(root)}/record.json"):  # not published since
                storage.delete(uri)
        mine = (record for record in records if record.suite == suite)
        index.refresh(root, suite, {index.key_of(record): index.indexed(record) for record in mine})
    return len(records)


def _readable(run_uri: str) -> Record:
    try:
        return read(run_uri)
    except ValueError as error:
        raise BadInput(
            f"{run_uri}/record.json: not a record of this version ({error.__class__.__name__}); remove it"
        ) from None


def _asked_before(spec: Spec, entries: list[Published]) -> Iterator[Spec]:
    """The specs of this checkpoint's runs in the series, the first run first."""
    for entry in entries:
        if entry.checkpoint_folder == spec.checkpoint.folder:
            run_uri = entry.run_uri(spec.root)
            for found in storage.entries(run_uri):
                if found.key.startswith("spec") and found.key.endswith(".json"):
                    with suppress(ValueError):  # of another version
                        yield Spec.model_validate_json(storage.read(f"{run_uri}/{found.key}"))


def _named(spec: Spec, asked: str, what: str) -> Baseline:
    """The last run with that URI, or of the checkpoint with that URI, in the spec's series."""
    uri = storage.absolute(asked)
    lines = index.whole(spec.root, spec.suite.name).records
    entries = {entry.key: entry for entry in published(spec.root, spec.suite.name, spec.series_id)}
    named = [key for key, line in lines.items() if key in entries and uri in (line.run_uri, line.checkpoint.uri)]
    if not named:
        raise BadInput(
            f"{what} {asked}: no record of it in suite {spec.suite.name} with these images and this prompt; "
            "validate it first"
        )
    return _baseline(spec.root, entries[named[-1]])


def _baseline(root: str, entry: Published) -> Baseline:
    record = read(entry.run_uri(root))
    return Baseline(
        run_id=record.run_id, run_uri=record.run_uri, caption_id=record.caption_id, checkpoint=record.checkpoint
    )


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "rebuild":
        sys.exit("usage: python -m ray_jobs.records rebuild ROOT")
    try:
        print(f"{rebuild(storage.absolute(sys.argv[2]))} records indexed")
    except (BadInput, Trouble) as error:
        sys.exit(str(error))
