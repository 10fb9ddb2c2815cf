"""Run the gate over stored scores: read the scores of the candidate and the compared runs part by part, and decide.

The driver of `evaluate` calls this. It keeps only the sums of a part, so memory does not grow with the images.
Invariant: all runs have the same golden set, so they have the same parts. Within a part, images are paired by id.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa

from ray_jobs.contract.artifacts import Scores, Verdict
from ray_jobs.contract.spec import Baseline, Spec
from ray_jobs.gate.accumulator import Sample
from ray_jobs.gate.no_baseline import explain_missing_baseline
from ray_jobs.gate.paired_differences import GateMetric, PairedDifferences
from ray_jobs.gate.verdict import ComparisonSide, decide_verdict
from ray_jobs.inputs.errors import InputError
from ray_jobs.judge.preference import read_preferences
from ray_jobs.metrics.registry import build_metrics
from ray_jobs.runtime.prefetch import prefetch
from ray_jobs.storage import manifests, parts
from ray_jobs.storage.pairing import find_rows, read_floats, take_rows

READERS, AHEAD = 4, 8  # how many parts are fetched at once, and how many are fetched ahead
PREFERENCE = "preference"  # the judge's choice between two captions is among the run's results, not in the scores


class PartValues(NamedTuple):
    """A part of one run: image ids, cluster names (None without clusters), and values per metric (NaN if missing)."""

    ids: list[str]
    clusters: list[str] | None
    metrics: dict[str, np.ndarray]


def run_gate(spec: Spec, scores: Scores) -> Verdict:
    """The verdict on the run that has these scores."""
    names = [part.name for part in scores.manifest.parts]
    metrics: Mapping[str, GateMetric] = build_metrics(spec)
    rules = spec.suite.gate
    if not spec.baseline:  # then there are no preferences
        metrics = {name: metric for name, metric in metrics.items() if name != PREFERENCE}
        rules = rules.model_copy(
            update={"limits": {name: metric for name, metric in rules.limits.items() if name in metrics}}
        )
    compared = {name: metric for name, metric in metrics.items() if metric.direction or name in rules.limits}
    is_clustered = rules.cluster != "none"
    sides = [_build_side(spec, against, run, compared) for against, run in _list_compared_runs(spec).items()]
    limited = {name: Sample(is_clustered) for name in rules.limits}
    numbers: dict[str, int] = {}
    for candidate, *others in _read_parts(
        spec, [spec.caption_id, *(side.run.caption_id for side in sides)], names, list(compared)
    ):
        clusters = _number_clusters(candidate.clusters, numbers)
        for name, sample in limited.items():
            present = np.isfinite(candidate.metrics[name])
            sample.add(candidate.metrics[name][present], clusters[present] if clusters is not None else None)
        for side, other in zip(sides, others, strict=True):
            old, new = align_images(other, candidate)
            both_clusters = clusters if new is candidate else _number_clusters(new.clusters, numbers)
            for name, pairs in side.pairs.items():
                old_values = np.zeros(len(new.ids)) if name == PREFERENCE else old.metrics[name]
                pairs.add(old_values, new.metrics[name], both_clusters)
    verdict = decide_verdict(rules, scores, metrics, sides, limited, explain_missing_baseline(spec))
    return verdict.model_copy(update={"baseline": spec.baseline, "anchor": spec.anchor})


def align_images(other: PartValues, candidate: PartValues) -> tuple[PartValues, PartValues]:
    """Both parts with the same images in the same order. A side that lacks an image has NaN there."""
    if candidate.ids == other.ids:
        return other, candidate
    position = {image_id: i for i, image_id in enumerate(candidate.ids)}
    extra = [i for i, image_id in enumerate(other.ids) if image_id not in position]
    ids = [*candidate.ids, *(other.ids[i] for i in extra)]
    clusters = (
        [*candidate.clusters, *(other.clusters[i] for i in extra)] if candidate.clusters and other.clusters else None
    )
    aligned = []
    for side in (other, candidate):
        rows = find_rows(ids, side.ids)
        metrics = {name: take_rows(values, rows) for name, values in side.metrics.items()}
        aligned.append(PartValues(ids, clusters, metrics))
    return aligned[0], aligned[1]


def _number_clusters(names: list[str] | None, numbers: dict[str, int]) -> np.ndarray | None:
    """The number of each name's cluster. Adds new names to `numbers`."""
    return None if names is None else np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=int)


def _list_compared_runs(spec: Spec) -> dict[Literal["baseline", "anchor"], Baseline]:
    """The runs to compare with. An anchor that has the baseline's captions is left out."""
    runs: dict[Literal["baseline", "anchor"], Baseline | None] = {"baseline": spec.baseline, "anchor": spec.anchor}
    if spec.baseline and spec.anchor and spec.baseline.caption_id == spec.anchor.caption_id:
        del runs["anchor"]
    return {against: run for against, run in runs.items() if run}


def _build_side(
    spec: Spec, against: Literal["baseline", "anchor"], run: Baseline, metrics: Mapping[str, GateMetric]
) -> ComparisonSide:
    is_clustered, has_same_captions = spec.suite.gate.cluster != "none", run.caption_id == spec.caption_id
    pairs = {
        name: PairedDifferences(metric, is_clustered, has_same_captions)
        for name, metric in metrics.items()
        if metric.direction
    }
    if against == "anchor":  # preferences are against the baseline's captions
        pairs.pop(PREFERENCE, None)
    return ComparisonSide(against, run, pairs)


def _read_parts(
    spec: Spec, caption_ids: Sequence[str], names: Sequence[str], metrics: Sequence[str]
) -> Iterator[list[PartValues]]:
    """The values of all runs, part by part in order. Reads a few parts ahead."""
    for caption_id in caption_ids:
        manifests.require_manifest(spec.scores_uri_of(caption_id), "evaluate")

    def read_part(name: str) -> list[PartValues]:
        return [_read_values(spec, caption_id, name, metrics) for caption_id in caption_ids]

    return prefetch(read_part, names, AHEAD, READERS)


def _read_values(spec: Spec, caption_id: str, name: str, metrics: Sequence[str]) -> PartValues:
    scored = [metric for metric in metrics if metric != PREFERENCE]
    labels = ["label"] if spec.suite.gate.cluster == "label" else []
    table = parts.read(spec.scores_uri_of(caption_id), name, ["image_id", *labels, *scored])
    ids = table["image_id"].to_pylist()
    values = {metric: read_floats(table, metric) for metric in scored}
    if PREFERENCE in metrics and caption_id == spec.caption_id:
        preferred = {row["image_id"]: row["preference"] for row in read_preferences(spec, name)}
        values[PREFERENCE] = np.array([preferred.get(image_id, np.nan) for image_id in ids], dtype=float)
    return PartValues(ids, _name_clusters(spec, table, ids), values)


def _name_clusters(spec: Spec, table: pa.Table, ids: Sequence[str]) -> list[str] | None:
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
