"""Scan the scores of a run beside the scores of its baseline, for distributions and for the images to show.

`report.page` calls this. Parts are streamed, and a few are read ahead. Memory does not grow with the number of images.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ray_jobs.contract.artifacts import Manifest
from ray_jobs.report.histogram import Histogram
from ray_jobs.report.image_kinds import ImageKinds, RankedImage
from ray_jobs.runtime.prefetch import prefetch
from ray_jobs.storage import parts
from ray_jobs.storage.pairing import find_rows, read_floats, take_rows

AHEAD = 8  # parts that are read ahead
MAX_RANKED = 10  # the most images shown as worse, and as better
MAX_FAILURES = 3  # the most images shown per reason of failure


@dataclass(frozen=True)
class Side:
    """The captions of one checkpoint and their scores. Without a manifest, the current files are used."""

    name: str
    captions_uri: str
    scores_uri: str
    captions: Manifest | None = None
    scores: Manifest | None = None


class UnscoredImage(NamedTuple):
    """An image of a part without a score, and the reason."""

    image_id: str
    reason: str
    part: str


@dataclass
class PairCounts:
    """The images with a value on both sides, and how many of them got worse and better."""

    images: int = 0
    worse: int = 0
    better: int = 0

    def add(self, differences: np.ndarray) -> None:
        """Count the differences. A positive one is better, and NaN is no pair."""
        self.images += int(np.isfinite(differences).sum())
        self.worse += int((differences < 0).sum())
        self.better += int((differences > 0).sum())


@dataclass
class ScanResult:
    """Distributions by metric, and the images to show. `worse` and `better` begin with the largest change.

    Without a baseline they have the lowest and the highest values, and `pairs` and the kinds are empty. The kinds group
    all images that got worse or better by the first metric that ranks, not only the images of `worse` and `better`.
    """

    candidate: dict[str, Histogram]
    baseline: dict[str, Histogram]
    worse_kinds: ImageKinds
    better_kinds: ImageKinds
    pairs: dict[str, PairCounts] = field(default_factory=dict)
    worse: list[RankedImage] = field(default_factory=list)
    better: list[RankedImage] = field(default_factory=list)
    lost: list[UnscoredImage] = field(default_factory=list)


def scan_scores(
    names: Sequence[str],
    candidate: Side,
    baseline: Side | None,
    metrics: Sequence[str],
    rank_by: Sequence[tuple[str, int]],
    count_by: Mapping[str, int] | None = None,
    criteria: Sequence[str] = (),
) -> ScanResult:
    """Scan all parts.

    Args:
        names: The parts.
        candidate: The side whose images are ranked.
        baseline: The side that they are compared with, if there is one.
        metrics: The metrics whose distributions are counted.
        rank_by: Up to two (metric, direction). The second metric breaks ties of the first.
        count_by: The direction of each metric whose pairs are counted.
        criteria: Those of `count_by` that group the images.
    """
    count_by = count_by or {}
    scan = ScanResult(
        {name: Histogram() for name in metrics},
        {name: Histogram() for name in metrics if baseline},
        ImageKinds(-1, criteria),
        ImageKinds(1, criteria),
        pairs={name: PairCounts() for name in count_by if baseline},
    )
    columns = ["image_id", "failure", *dict.fromkeys([*metrics, *(name for name, _ in rank_by), *count_by])]
    failure_counts: Counter[str] = Counter()

    stored_columns = [(side, _list_stored_columns(side, names, columns)) for side in (candidate, baseline) if side]

    def read(name: str) -> tuple[str, pa.Table, pa.Table | None]:
        new, *old = (parts.read(side.scores_uri, name, there, manifest=side.scores) for side, there in stored_columns)
        return name, new, old[0] if old else None

    for name, new, old in prefetch(read, names, AHEAD):
        for metric in metrics:
            scan.candidate[metric].add(read_floats(new, metric))
            if old is not None:
                scan.baseline[metric].add(read_floats(old, metric))
        rank_values = _read_changes(new, old, rank_by)
        ranked = _rank_part(name, new, rank_values)
        scan.worse = sorted([*scan.worse, *ranked[:MAX_RANKED]])[:MAX_RANKED]
        scan.better = sorted([*scan.better, *ranked[-MAX_RANKED:]], key=_best_first_key)[:MAX_RANKED]
        if old is not None:
            changes = dict(zip(count_by, _read_changes(new, old, list(count_by.items())), strict=True))
            for metric, differences in changes.items():
                scan.pairs[metric].add(differences)
            _group_part(scan, name, new, rank_values, [changes[metric] for metric in criteria])
        for image_id, reason in _list_failures(new):
            if failure_counts[reason] < MAX_FAILURES:
                failure_counts[reason] += 1
                scan.lost.append(UnscoredImage(image_id, reason, name))
    if baseline:
        scan.worse = [image for image in scan.worse if (image.value, image.tie_value) < (0, 0) and image.value <= 0]
        scan.better = [image for image in scan.better if (image.value, image.tie_value) > (0, 0) and image.value >= 0]
    else:
        lowest = {image.image_id for image in scan.worse}
        scan.better = [image for image in scan.better if image.image_id not in lowest]
    return scan


def _list_stored_columns(side: Side, names: Sequence[str], columns: Sequence[str]) -> list[str]:
    """The columns that the side's scores have. All parts have the same columns."""
    stored = parts.read(side.scores_uri, names[0], manifest=side.scores).column_names if names else []
    return [column for column in columns if column in stored]


def _read_changes(new: pa.Table, old: pa.Table | None, by: Sequence[tuple[str, int]]) -> list[np.ndarray]:
    """How much better each image is, by each (metric, direction). Without an old table, the values themselves."""
    values = [read_floats(new, name) * direction for name, direction in by]
    if old is None:
        return values
    rows = find_rows(new["image_id"].to_pylist(), old["image_id"].to_pylist())
    before = (take_rows(read_floats(old, name), rows) for name, _ in by)
    return [after - then * direction for after, then, (_, direction) in zip(values, before, by, strict=True)]


def _rank_part(part: str, new: pa.Table, values: Sequence[np.ndarray]) -> list[RankedImage]:
    """The part's images with a value, the worst first. Only the first and the last `MAX_RANKED` are returned."""
    if not values:
        return []
    ids = new["image_id"].to_pylist()
    first, second = values[0], _tie_values(values)
    sorted_rows = [row for row in np.lexsort((second, first)).tolist() if np.isfinite(first[row])]
    chosen_rows = (
        sorted_rows if len(sorted_rows) <= 2 * MAX_RANKED else sorted_rows[:MAX_RANKED] + sorted_rows[-MAX_RANKED:]
    )
    return [RankedImage(float(first[row]), float(second[row]), ids[row], part) for row in chosen_rows]


def _group_part(
    scan: ScanResult, part: str, new: pa.Table, values: Sequence[np.ndarray], changes: Sequence[np.ndarray]
) -> None:
    """Add the part's changed images to the kinds."""
    if not values:
        return
    ids = new["image_id"]
    first, second = values[0], _tie_values(values)
    by_criterion = np.array(changes).reshape(len(changes), len(first))
    for kinds in (scan.worse_kinds, scan.better_kinds):
        order = np.lexsort((-kinds.sign * second, -kinds.sign * first))
        order = order[kinds.sign * first[order] > 0]
        rows = order.tolist()

        def image_at(column: int, rows: list[int] = rows) -> RankedImage:
            row = rows[column]
            return RankedImage(float(first[row]), float(second[row]), ids[row].as_py(), part)

        kinds.add(image_at, by_criterion[:, order])


def _tie_values(values: Sequence[np.ndarray]) -> np.ndarray:
    return np.nan_to_num(values[-1]) if len(values) > 1 else np.zeros(len(values[0]))


def _best_first_key(image: RankedImage) -> tuple[float, float, str]:
    return -image.value, -image.tie_value, image.image_id


def _list_failures(table: pa.Table) -> Iterable[tuple[str, str]]:
    failed = table.filter(pc.is_valid(table["failure"]))
    return zip(failed["image_id"].to_pylist(), failed["failure"].to_pylist(), strict=True)
