"""Count the distribution of a metric in one pass and constant memory, without knowing the range of its values.

`rank_images` fills the histograms, and `plots` draws them.
"""

import math
from collections import Counter

import numpy as np

BINS = 40  # the most bins
DISTINCT = 12  # up to so many different values, every value is counted separately


class Histogram:
    """Counts in bins of width 2^exponent, which begin at multiples of that width.

    When the values need more than `BINS` bins, every two neighbours are merged. The result is exact and does not depend
    on the order of the values. `distinct` counts every value separately; None after more than `DISTINCT` values.
    """

    def __init__(self) -> None:
        self.n, self.total = 0, 0.0
        self.exponent = -1074
        self.counts: Counter[int] = Counter()
        self.distinct: Counter[float] | None = Counter()

    def add(self, values: np.ndarray) -> None:
        """Count the values. Missing (NaN) and infinite values are left out."""
        values = values[np.isfinite(values)]
        if not len(values):
            return
        self.n += len(values)
        self.total += float(values.sum())
        self._count_distinct(values)
        self.coarsen(_exponent_for(float(values.min()), float(values.max())))
        bins, counts = np.unique(np.floor(np.ldexp(values, -self.exponent)).astype(np.int64), return_counts=True)
        self.counts.update(dict(zip(bins.tolist(), counts.tolist(), strict=True)))
        self._fit()

    @property
    def mean(self) -> float | None:
        return self.total / self.n if self.n else None

    def coarsen(self, exponent: int) -> None:
        """Make the bins at least 2^exponent wide."""
        by = exponent - self.exponent
        if by > 0:
            merged: Counter[int] = Counter()
            for index, count in self.counts.items():
                merged[index >> by] += count
            self.counts, self.exponent = merged, exponent

    def _fit(self) -> None:
        while max(self.counts) - min(self.counts) >= BINS:
            self.coarsen(self.exponent + 1)

    def _count_distinct(self, values: np.ndarray) -> None:
        if self.distinct is not None:
            distinct_values, counts = np.unique(values, return_counts=True)
            self.distinct.update(dict(zip(distinct_values[: DISTINCT + 1].tolist(), counts.tolist(), strict=False)))
            if len(self.distinct) > DISTINCT:
                self.distinct = None


def align_bins(first: Histogram, second: Histogram) -> tuple[list[float], list[int], list[int]]:
    """(edges, counts of the first, counts of the second) over the same bins, at most `BINS` of them.

    Makes both histograms coarser where needed.
    """
    for histogram, by in ((first, second), (second, first)):
        histogram.coarsen(by.exponent)
    bins = [*first.counts, *second.counts]
    while max(bins) - min(bins) >= BINS:
        first.coarsen(first.exponent + 1)
        second.coarsen(second.exponent + 1)
        bins = [*first.counts, *second.counts]
    span = range(min(bins), max(bins) + 1)
    edges = [math.ldexp(index, first.exponent) for index in (*span, span.stop)]
    return edges, [first.counts[index] for index in span], [second.counts[index] for index in span]


def _exponent_for(low: float, high: float) -> int:
    """The exponent of a bin width for about `BINS` bins over the range, with bin numbers of at most 40 bits."""
    widest = max(abs(low), abs(high))
    spread = high / BINS - low / BINS
    by_range = math.ceil(math.log2(spread)) if spread > 0 else -1074
    by_size = math.ceil(math.log2(widest)) - 40 if widest else -40
    return max(by_range, by_size)
