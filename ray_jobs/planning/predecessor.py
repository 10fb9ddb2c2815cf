"""Find the series that a suite had before this one, so that an upgrade of Assay cannot take a baseline unnoticed.

`plan` calls this when a run's series has no baseline. The id of a series contains Assay's own versions
(`contract/spec.py`), so raising one starts a new series although nobody changed the suite. A changed setting starts a
new series too, as the person intended. The specs of the other series tell the two cases apart.
"""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, islice
from operator import attrgetter
from typing import Any

from ray_jobs.contract.spec import Predecessor, Spec
from ray_jobs.storage import baselines, specs
from ray_jobs.storage.index import READS, IndexEntry, list_entries

MAX_RUNS_TRIED = 8  # accepted runs per series whose specs are tried: each spec has the settings of the series


def find_predecessor(spec: Spec, baseline_choice: str) -> Predecessor | None:
    """Returns the last accepted run of the suite's series before this one. None if the spec misses nothing.

    The spec misses nothing in any of these cases:

    - It has a baseline, or the caller asked for none.
    - Its gate compares no metric.
    - Its own series has an accepted run, or no series has one.
    - Its checkpoint was accepted last. This run then becomes the first baseline of the new series.

    If the spec misses only the anchor `first`, the result is the first accepted run of the series before, unless a
    person has changed a setting since.

    A series that differs only in Assay's versions is preferred. Otherwise the series that accepted a run last counts,
    and `changed` has the settings that a person changed since. If no spec of that series can be read, `changed` is
    empty, as after an upgrade: otherwise the run would pass, as if a person had meant to start a new series. Raises
    NewerSchema if a newer Assay wrote a spec.
    """
    misses_baseline = not spec.baseline and baseline_choice in ("last-accepted", "previous")
    misses_anchor = not spec.anchor and spec.suite.gate.anchor == "first"
    if not (misses_baseline or misses_anchor) or not spec.suite.gate.metrics:
        return None
    entries = list_entries(spec.root, spec.suite.name)
    of_series = [entry for entry in entries if entry.series_id == spec.series_id]
    for earlier in baselines.iterate_earlier_specs(spec, of_series):
        if earlier.suite.gate.baseline == baseline_choice and _keeps_answer(spec, earlier, misses_baseline):
            return earlier.predecessor
    accepted = baselines.list_accepted(spec, entries)[::-1]
    if not accepted or any(entry.series_id == spec.series_id for entry in accepted):
        return None
    by_series = sorted(accepted, key=attrgetter("series_id"))  # stable: the newest of each series stays first
    series = [list(runs) for _, runs in groupby(by_series, key=attrgetter("series_id"))]
    series.sort(key=lambda runs: accepted.index(runs[0]))
    with ThreadPoolExecutor(READS) as pool:
        candidates = list(pool.map(lambda runs: _compare_with(spec, runs if misses_baseline else runs[::-1]), series))
    before = next(
        (candidate for candidate in candidates if candidate.checkpoint and not candidate.changed), candidates[0]
    )
    if before.changed and not misses_baseline:
        return None
    return None if _is_of_checkpoint(spec, before) else before


def _keeps_answer(spec: Spec, earlier: Spec, misses_baseline: bool) -> bool:
    """Whether an earlier run with the same request lost nothing to an upgrade. Then this run lost nothing either."""
    if misses_baseline:
        return not earlier.baseline and not earlier.has_lost_baseline
    return earlier.suite.gate.anchor == spec.suite.gate.anchor and not earlier.anchor and not earlier.has_lost_anchor


def _compare_with(spec: Spec, accepted: list[IndexEntry]) -> Predecessor:
    """Returns the predecessor from one series: the first of its accepted runs with a readable spec."""
    for entry in islice(accepted, MAX_RUNS_TRIED):
        run_uri = entry.run_uri(spec.root)  # not `old.run_uri`: that has the ids of this version
        for old in specs.iterate_specs(run_uri):
            if old.suite.name == entry.suite and old.checkpoint.folder == entry.checkpoint_folder:
                changed = list_changes(old, spec)
                return Predecessor(run_id=entry.run_id, run_uri=run_uri, checkpoint=old.checkpoint, changed=changed)
    entry = accepted[0]
    return Predecessor(run_id=entry.run_id, run_uri=entry.run_uri(spec.root), checkpoint=None)


def _is_of_checkpoint(spec: Spec, before: Predecessor) -> bool:
    """Whether the predecessor is an accepted run of the spec's own checkpoint."""
    if before.changed:
        return False
    if before.checkpoint is None:  # then only the name of the run's folder is known
        return before.run_uri.split("/")[-2].endswith(f"-{spec.checkpoint.fingerprint[:8]}")
    return before.checkpoint.fingerprint == spec.checkpoint.fingerprint


def list_changes(old: Spec, new: Spec) -> tuple[str, ...]:
    """Returns the names of the settings that a person can change and that differ between the series of these specs."""
    changed = [
        f"{section}.{name}"
        for section, before in _settings(old).items()
        for name in _list_differences(before, _settings(new)[section])
    ]
    if old.source_revision != new.source_revision:
        changed.append("the files of the dataset")
    return tuple(changed)


def _settings(spec: Spec) -> dict[str, Mapping[str, Any]]:
    """Returns the settings of a suite that determine its series, by section."""
    suite = spec.suite
    return {
        "dataset": {name: _without_links(value) for name, value in suite.dataset.identity().items()},
        "preprocess": suite.preprocess.identity(),
        "caption": suite.caption.identity(),
        "engine": suite.engine.identity(),
    }


def _without_links(value: Any) -> Any:
    """Returns an absolute path with its links followed, as earlier releases wrote it into specs."""
    return os.path.realpath(value) if isinstance(value, str) and value.startswith("/") else value


def _list_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    missing = object()
    return sorted(
        name for name in before.keys() | after.keys() if before.get(name, missing) != after.get(name, missing)
    )
