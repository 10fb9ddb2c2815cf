"""Records in storage: which checkpoints were validated, and what a new one is compared with.

`runs/{checkpoint}/{run_id}/record.json` is the truth; `python -m ray_jobs.records rebuild ROOT` makes the index over
them (`ray_jobs/index.py`) anew.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

from ray_jobs import index, storage
from ray_jobs.contract import BadInput, Baseline, Record, Spec, Trouble, Verdict
from ray_jobs.index import Published, published

__all__ = ["Published", "anchor_for", "baseline_for", "decided", "publish", "published", "read", "rebuild"]


def publish(root: str, record: Record, replace: bool = False) -> Record:
    """Write the run's record and its entry in the index; the record that stands then.

    One that stood before is kept, unless it says another thing and either is INCOMPLETE or is to be replaced. While its
    outcome stays, a run keeps its place in the series, so that doing it again moves nobody's baseline or anchor.
    """
    uri = f"{record.run_uri}/record.json"
    if not storage.create(uri, record.model_dump_json(indent=1).encode()):
        standing = _standing(record.run_uri)
        if standing is None or ((replace or standing.verdict.outcome == "INCOMPLETE") and _differs(standing, record)):
            storage.write(uri, _in_its_place(record, standing).model_dump_json(indent=1).encode())
    standing = _entered(root, record.run_uri)
    index.refresh(root, record.suite, {index.key_of(standing): index.indexed(standing)})
    return standing


def _standing(run_uri: str) -> Record | None:
    """The record of a run, None where it is not readable: what it was made from is there to make it again."""
    try:
        return read(run_uri)
    except ValueError:
        return None


def _differs(one: Record, other: Record) -> bool:
    return one.model_dump_json(exclude={"published_at"}) != other.model_dump_json(exclude={"published_at"})


def _in_its_place(record: Record, standing: Record | None) -> Record:
    """The record at the time of the one that it replaces, if with the same outcome.

    Some microseconds later, for an entry's key stands for one content only: else an index file made of the old one
    would not be seen to be stale. How many, the clock says, so that two that replace it at once do not share a key.
    """
    if standing is None or standing.verdict.outcome != record.verdict.outcome:
        return record
    later = timedelta(microseconds=1 + record.published_at.microsecond % 1000)
    return record.model_copy(update={"published_at": standing.published_at + later})


def _entered(root: str, run_uri: str) -> Record:
    """Give the run's record its entry and remove those of the records that it replaced; the record.

    The new entry comes first, so that a kill leaves one too many and never none. Where another replaced the record
    meanwhile, whoever entered the older one looks again and enters the newer.
    """
    while True:
        record = read(run_uri)
        index.add(root, [record])
        for entry in published(root, record.suite, record.series_id):
            of_the_run = entry.run_id == record.run_id and entry.checkpoint_folder == record.checkpoint.folder
            if of_the_run and entry.key != index.key_of(record):
                storage.delete(index.uri_of(root, entry))
        if index.key_of(read(run_uri)) == index.key_of(record):
            return record


def decided(run_uri: str) -> bool:
    """Whether the run has a verdict that need not be asked for again: any but INCOMPLETE."""
    try:
        verdict = Verdict.model_validate_json(storage.read(f"{run_uri}/verdict.json"))
    except (FileNotFoundError, ValueError):
        return False
    return verdict.outcome != "INCOMPLETE"


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
    return _baseline(spec.root, others[-1], f"baseline {asked}") if others else None


def anchor_for(spec: Spec, asked: str | None) -> Baseline | None:
    """The frozen run to compare with as well: `first`, the first accepted run of the series, or the URI of a run or
    checkpoint. None when that is the checkpoint itself or the spec's baseline. Raises BadInput as `baseline_for`."""
    if asked is None:
        return None
    entries = published(spec.root, spec.suite.name, spec.series_id)
    if asked == "first":
        for had in _asked_before(spec, entries):
            if (had.suite.gate.anchor, had.suite.gate.baseline) == (asked, spec.suite.gate.baseline):
                return had.anchor
        accepted = [entry for entry in entries if entry.outcome == "PASS"]
        found = _baseline(spec.root, accepted[0], f"anchor {asked}") if accepted else None
    else:
        found = _named(spec, asked, "anchor")
    if found is None or found.checkpoint.fingerprint == spec.checkpoint.fingerprint:
        return None
    return None if spec.baseline and spec.baseline.run_id == found.run_id else found


def rebuild(root: str) -> tuple[int, list[str]]:
    """Write the index anew from the records and drop entries that have none.

    Returns the number of records in it, and a line for each record that is left out because it cannot be read.
    """
    uris = [
        f"{root}/runs/{entry.key.removesuffix('/record.json')}"
        for entry in storage.entries(f"{root}/runs")
        if entry.key.endswith("/record.json")
    ]
    with ThreadPoolExecutor(index.READS) as pool:
        found = list(pool.map(_readable, uris))
    records = [one for one in found if isinstance(one, Record)]
    index.add(root, records)
    wanted = {index.entry_uri(root, record) for record in records}
    for suite in storage.folders(f"{root}/index"):
        entries = published(root, suite)
        of_a_run = Counter(entry.run_uri(root) for entry in entries)
        for entry in entries:  # what was published since is not wanted, and what it replaced was read as a record
            uri = index.uri_of(root, entry)
            if (uri not in wanted or of_a_run[entry.run_uri(root)] > 1) and not _is_of_its_record(root, entry):
                storage.delete(uri)
        mine = (record for record in records if record.suite == suite)
        index.refresh(root, suite, {index.key_of(record): index.indexed(record) for record in mine})
    return len(records), [one for one in found if isinstance(one, str)]


def _readable(run_uri: str) -> Record | str:
    """The record, or why it is none."""
    try:
        return read(run_uri)
    except (BadInput, FileNotFoundError, ValueError) as error:
        return f"{run_uri}/record.json: {_why(error)}"


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is none"
    return str(error) if isinstance(error, BadInput) else f"not a record of this version ({type(error).__name__})"


def _is_of_its_record(root: str, entry: Published) -> bool:
    record = _readable(entry.run_uri(root))
    return isinstance(record, Record) and index.entry_uri(root, record) == index.uri_of(root, entry)


def _asked_before(spec: Spec, entries: list[Published]) -> Iterator[Spec]:
    """The specs of this checkpoint's runs in the series, the first run first."""
    for entry in entries:
        if entry.checkpoint_folder == spec.checkpoint.folder:
            run_uri = entry.run_uri(spec.root)
            for found in storage.entries(run_uri):
                if found.key.startswith("spec") and found.key.endswith(".json"):
                    with suppress(ValueError, FileNotFoundError):  # of another version, or removed since it was listed
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
    return _baseline(spec.root, entries[named[-1]], f"{what} {asked}")


def _baseline(root: str, entry: Published, asked: str) -> Baseline:
    record = _readable(entry.run_uri(root))
    if isinstance(record, str):
        remedy = f"publish that run again, or leave it out with python -m ray_jobs.records rebuild {root}"
        raise BadInput(f"{asked}: {record}; {remedy}")
    return Baseline(
        run_id=record.run_id, run_uri=record.run_uri, caption_id=record.caption_id, checkpoint=record.checkpoint
    )


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[0] != "rebuild":
        print("usage: python -m ray_jobs.records rebuild ROOT", file=sys.stderr)
        return 2
    try:
        count, left_out = rebuild(storage.absolute(arguments[1]))
    except (BadInput, Trouble) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, BadInput) else 1
    for line in left_out:
        print(f"left out: {line}; publish that run again", file=sys.stderr)
    print(f"{count} records indexed" + (f", {len(left_out)} left out" if left_out else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
