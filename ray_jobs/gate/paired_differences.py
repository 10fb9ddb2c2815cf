"""Accumulate the paired differences of two runs on one metric. Memory does not grow with the number of images."""

import math
from typing import Protocol

import numpy as np

from ray_jobs.gate.accumulator import Sample


class GateMetric(Protocol):
    """The fields of a metric that the gate needs. `ray_jobs.metrics.Metric` declares them. `range` may be infinite."""

    @property
    def name(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def direction(self) -> int: ...
    @property
    def range(self) -> tuple[float, float]: ...
    @property
    def kind(self) -> str: ...
    @property
    def order(self) -> int: ...
    @property
    def needs(self) -> str: ...


class PairedDifferences:
    """The signed differences of the images with both values, and the sums of the values that only one side has.

    `has_same_captions`: both sides have the same captions, so they are equal without a test.
    """

    def __init__(self, metric: GateMetric, is_clustered: bool = False, has_same_captions: bool = False) -> None:
        self.metric, self.has_same_captions = metric, has_same_captions
        self.sign = metric.direction or 1
        self.differences = Sample(is_clustered)
        self._both = np.zeros(2)
        self._alone = np.zeros((2, 2))  # baseline alone, candidate alone: how many images and the sum of their values

    @property
    def n(self) -> int:
        return self.differences.n

    @property
    def one_sided(self) -> int:
        """The number of images that have a value on one side only."""
        return int(self._alone[:, 0].sum())

    @property
    def baseline(self) -> float | None:
        return float(self._both[0] / self.n) if self.n else None

    @property
    def candidate(self) -> float | None:
        return float(self._both[1] / self.n) if self.n else None

    @property
    def reach(self) -> float:
        """The largest difference that the metric's range allows."""
        return self.metric.range[1] - self.metric.range[0]

    def add(self, baseline: np.ndarray, candidate: np.ndarray, clusters: np.ndarray | None = None) -> None:
        """Add a chunk: one value per image, in the same order on both sides, NaN for a missing value.

        `clusters` has the number of each image's cluster, from 0.
        """
        old, new = np.isfinite(baseline), np.isfinite(candidate)
        both = old & new
        numbers = clusters[both] if clusters is not None else None
        self.differences.add((candidate[both] - baseline[both]) * self.sign, numbers)
        self._both += baseline[both].sum(), candidate[both].sum()
        for side, (values, alone) in enumerate(((baseline, old & ~new), (candidate, new & ~old))):
            self._alone[side] += alone.sum(), values[alone].sum()

    def worst_case(self, expected: int) -> tuple[float, float] | None:
        """Bounds of the mean difference, whatever the missing values are (Manski 2003, Partial Identification, ch. 1).

        The bounds assume that each missing value is as bad, or as good, as the metric's range allows. `expected` is
        the number of images that should have both values. None when the range is infinite, or no image is expected.
        """
        least, most = self.metric.range
        neither = max(expected - self.n - self.one_sided, 0)
        total = self.n + self.one_sided + neither
        if not (math.isfinite(least) and math.isfinite(most)) or not total:
            return None
        (olds, old), (news, new) = self._alone
        seen = self.n * (self.differences.mean or 0.0)
        ends = (least, most) if self.sign > 0 else (most, least)
        low = seen + self.sign * (ends[0] * olds - old + new - ends[1] * news) - neither * self.reach
        high = seen + self.sign * (ends[1] * olds - old + new - ends[0] * news) + neither * self.reach
        return float(low / total), float(high / total)
