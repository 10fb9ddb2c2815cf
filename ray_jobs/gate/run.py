"""The gate over kept scores: the candidate's beside those of what it is compared with, part by part.

Nothing of a part is kept but sums, so that memory does not grow with the images. The runs have one golden set, hence
the same parts; within a part images are paired by name.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa

from ray_jobs.contract.artifacts import Scores, Verdict
from ray_jobs.contract.spec import Baseline, Spec
from ray_jobs.gate.accumulator import Sample
from ray_jobs.gate.no_baseline import without_baseline
from ray_jobs.gate.paired_differences import Measured, Paired
from ray_jobs.gate.verdict import Side, decide
from ray_jobs.inputs.errors import InputError
from ray_jobs.judge.preference import preferences
from ray_jobs.metrics.registry import declared
from ray_jobs.runtime.prefetch import prefetch
from ray_jobs.storage import parts
from ray_jobs.storage.pairing import find_rows, read_floats, take_rows

READERS, AHEAD = 4, 8  # parts that are fetched at once, and how many may lie ready
PREFERENCE = "preference"  # the judge's choice between two captions: of the run, not of either side's scores


class Values(NamedTuple):
    """A part of one run: the image ids, their clusters where there are any, and each metric's values, NaN for none."""

    ids: list[str]
    clusters: list[str] | None
    metrics: dict[str, np.ndarray]


def gate(spec: Spec, scores: Scores) -> Verdict:
    """The verdict on the run whose scores these are."""
    return gated(spec, scores, declared(spec))


def gated(spec: Spec, scores: Scores, metrics: Mapping[str, Measured]) -> Verdict:
    """The same with the metrics as they are declared."""
    names = [part.name for part in scores.manifest.parts]
    rules = spec.suite.gate
    if not spec.baseline:  # then nobody could prefer anything
        metrics = {name: one for name, one in metrics.items() if name != PREFERENCE}
        rules = rules.model_copy(
            update={"limits": {name: one for name, one in rules.limits.items() if name in metrics}}
        )
    kept = {name: one for name, one in metrics.items() if one.direction or name in rules.limits}
    clustered = rules.cluster != "none"
    sides = [_side(spec, against, run, kept) for against, run in _runs(spec).items()]
    limited = {name: Sample(clustered) for name in rules.limits}
    numbers: dict[str, int] = {}
    for own, *others in _read(spec, [spec.caption_id, *(side.run.caption_id for side in sides)], names, list(kept)):
        clusters = _numbered(own.clusters, numbers)
        for name, sample in limited.items():
            there = np.isfinite(own.metrics[name])
            sample.add(own.metrics[name][there], clusters[there] if clusters is not None else None)
        for side, other in zip(sides, others, strict=True):
            old, new = paired(other, own)
            of_both = clusters if new is own else _numbered(new.clusters, numbers)
            for name, pairs in side.pairs.items():
                before = np.zeros(len(new.ids)) if name == PREFERENCE else old.metrics[name]
                pairs.add(before, new.metrics[name], of_both)
    verdict = decide(rules, scores, metrics, sides, limited, without_baseline(spec))
    return verdict.model_copy(update={"baseline": spec.baseline, "anchor": spec.anchor})


def paired(other: Values, own: Values) -> tuple[Values, Values]:
    """Both with the same images in the same order, NaN where one of them does not have the image."""
    if own.ids == other.ids:
        return other, own
    known = {image_id: i for i, image_id in enumerate(own.ids)}
    more = [i for i, image_id in enumerate(other.ids) if image_id not in known]
    ids = [*own.ids, *(other.ids[i] for i in more)]
    clusters = [*own.clusters, *(other.clusters[i] for i in more)] if own.clusters and other.clusters else None
    return _ordered(other, ids, clusters), _ordered(own, ids, clusters)


def _ordered(one: Values, ids: list[str], clusters: list[str] | None) -> Values:
    rows = find_rows(ids, one.ids)
    return Values(ids, clusters, {name: take_rows(values, rows) for name, values in one.metrics.items()})


def _numbered(names: list[str] | None, numbers: dict[str, int]) -> np.ndarray | None:
    """The number of each name's cluster; new names get new numbers."""
    return None if names is None else np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=int)


def _runs(spec: Spec) -> dict[Literal["baseline", "anchor"], Baseline]:
    """What the run is compared with, once where the anchor is the baseline too."""
    runs: dict[Literal["baseline", "anchor"], Baseline | None] = {"baseline": spec.baseline, "anchor": spec.anchor}
    if spec.baseline and spec.anchor and spec.baseline.caption_id == spec.anchor.caption_id:
        del runs["anchor"]
    return {against: run for against, run in runs.items() if run}


def _side(spec: Spec, against: Literal["baseline", "anchor"], run: Baseline, metrics: Mapping[str, Measured]) -> Side:
    clustered, same = spec.suite.gate.cluster != "none", run.caption_id == spec.caption_id
    pairs = {name: Paired(one, clustered, same) for name, one in metrics.items() if one.direction}
    if against == "anchor":  # the judge was asked about the baseline's captions
        pairs.pop(PREFERENCE, None)
    return Side(against, run, pairs)


def _read(
    spec: Spec, caption_ids: Sequence[str], names: Sequence[str], metrics: Sequence[str]
) -> Iterator[list[Values]]:
    """Each part of the run and of the others, in order, a few of them fetched ahead."""
    for caption_id in caption_ids:
        parts.require(spec.scores_uri_of(caption_id), "evaluate")

    def part(name: str) -> list[Values]:
        return [_values(spec, caption_id, name, metrics) for caption_id in caption_ids]

    return prefetch(part, names, AHEAD, READERS)


def _values(spec: Spec, caption_id: str, name: str, metrics: Sequence[str]) -> Values:
    scored = [metric for metric in metrics if metric != PREFERENCE]
    labels = ["label"] if spec.suite.gate.cluster == "label" else []
    table = parts.read(spec.scores_uri_of(caption_id), name, ["image_id", *labels, *scored])
    ids = table["image_id"].to_pylist()
    values = {metric: read_floats(table, metric) for metric in scored}
    if PREFERENCE in metrics and caption_id == spec.caption_id:
        preferred = {row["image_id"]: row["preference"] for row in preferences(spec, name)}
        values[PREFERENCE] = np.array([preferred.get(image_id, np.nan) for image_id in ids], dtype=float)
    return Values(ids, _clusters(spec, table, ids), values)


def _clusters(spec: Spec, table: pa.Table, ids: Sequence[str]) -> list[str] | None:
    if spec.suite.gate.cluster == "source":
        return [image_id.rpartition("/")[0] for image_id in ids]
    if spec.suite.gate.cluster == "none":
        return None
    labels: list[str | None] = table["label"].to_pylist()
    if any(label is None for label in labels):
        raise InputError(
            f"gate.cluster: label, but image {ids[labels.index(None)]} has none; name the column of labels in "
            "`dataset.label`, or cluster by source or none"
        )
    return [str(label) for label in labels]
