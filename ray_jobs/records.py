"""Records in storage and the index over them: which checkpoints were validated, and what a new one is compared with.

`runs/{checkpoint}/{run_id}/record.json` is the truth. The index is one object a record whose key says what one searches
by, so that looking up costs a listing, two runs that publish at once cannot lose each other's entry, and `rebuild` can
make all of it again:

    index/{suite}/{series_id}/{published_at}--{checkpoint}--{run_id}--{outcome}.json

`python -m ray_jobs.records rebuild ROOT` rebuilds it.
"""

import sys
from collections.abc import Iterator
from typing import NamedTuple

from ray_jobs import storage
from ray_jobs.contract import BadInput, Baseline, Record, Spec


class Published(NamedTuple):
    """What an index key says of a record."""

    suite: str
    series_id: str
    published_at: str
    checkpoint_folder: str
    run_id: str
    outcome: str

    def run_uri(self, root: str) -> str:
        return f"{root}/runs/{self.checkpoint_folder}/{self.run_id}"


def publish(root: str, record: Record) -> Record:
    """Write the run's record, once: a run asked for again keeps the record it has, which is returned."""
    uri = f"{record.run_uri}/record.json"
    if not storage.create(uri, record.model_dump_json(indent=1).encode()):
        record = read(record.run_uri)
    storage.write(_index_uri(root, record), record.model_dump_json().encode())
    return record


def read(run_uri: str) -> Record:
    """The record of a run. Raises FileNotFoundError where none was published."""
    return Record.model_validate_json(storage.read(f"{run_uri}/record.json"))


def published(root: str, suite: str) -> list[Published]:
    """All entries of a suite, oldest first."""
    found = [Published(suite, *_parsed(entry.key)) for entry in storage.entries(f"{root}/index/{suite}")]
    return sorted(found, key=lambda entry: entry.published_at)


def baseline_for(spec: Spec, asked: str) -> Baseline | None:
    """The run to compare with: `last-accepted`, `none`, a checkpoint's URI or a run's URI.

    A run asked for again keeps the baseline it had, so the same question gets the same answer. Raises BadInput when a
    named baseline has no record in this run's series (same images, prompt and engine settings).
    """
    entries = [entry for entry in published(spec.root, spec.suite.name) if entry.series_id == spec.series_id]
    if asked == "none":
        return None
    if asked != "last-accepted":
        named = [entry for entry in entries if _is_named(spec.root, entry, storage.absolute(asked))]
        if not named:
            raise BadInput(
                f"baseline {asked}: no record of it in suite {spec.suite.name} with these images and this prompt; "
                "validate it first"
            )
        return _baseline(spec.root, named[-1])
    same = [entry for entry in entries if entry.checkpoint_folder == spec.checkpoint.folder]
    accepted = [entry for entry in entries if entry.outcome == "PASS"]
    if same:
        had = read(same[0].run_uri(spec.root)).verdict.baseline
        if had or accepted[:1] in ([], same[:1]):  # none had been accepted then; otherwise `none` was asked for
            return had
        accepted = [entry for entry in accepted if entry.checkpoint_folder != spec.checkpoint.folder]
    return _baseline(spec.root, accepted[-1]) if accepted else None


def rebuild(root: str) -> int:
    """Write the index anew from the records and drop entries that have none; the number of records."""
    wanted = {_index_uri(root, record): record for record in _all(root)}
    for uri, record in wanted.items():
        storage.write(uri, record.model_dump_json().encode())
    for entry in list(storage.entries(f"{root}/index")):
        if f"{root}/index/{entry.key}" not in wanted:
            storage.delete(f"{root}/index/{entry.key}")
    return len(wanted)


def _all(root: str) -> Iterator[Record]:
    for entry in storage.entries(f"{root}/runs"):
        if entry.key.endswith("/record.json"):
            yield read(f"{root}/runs/{entry.key.removesuffix('/record.json')}")


def _index_uri(root: str, record: Record) -> str:
    when = record.published_at.strftime("%Y%m%dT%H%M%S.%fZ")
    name = f"{when}--{record.checkpoint.folder}--{record.run_id}--{record.verdict.outcome}.json"
    return f"{root}/index/{record.suite}/{record.series_id}/{name}"


def _parsed(key: str) -> tuple[str, str, str, str, str]:
    series_id, _, name = key.partition("/")
    published_at, rest = name.removesuffix(".json").split("--", 1)
    folder, run_id, outcome = rest.rsplit("--", 2)
    return series_id, published_at, folder, run_id, outcome


def _is_named(root: str, entry: Published, uri: str) -> bool:
    return uri == entry.run_uri(root) or read(entry.run_uri(root)).checkpoint.uri == uri


def _baseline(root: str, entry: Published) -> Baseline:
    record = read(entry.run_uri(root))
    return Baseline(
        run_id=record.run_id, run_uri=record.run_uri, caption_id=record.caption_id, checkpoint=record.checkpoint
    )


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "rebuild":
        sys.exit("usage: python -m ray_jobs.records rebuild ROOT")
    print(f"{rebuild(storage.absolute(sys.argv[2]))} records indexed")
