"""Accumulate values that arrive in chunks, and choose the statistical test of their mean.

`paired_differences`, `limits` and `non_inferiority` call this, in the driver of `evaluate`. Invariant: memory grows
with the number of clusters, never with the number of values.
"""

from dataclasses import replace
from typing import Protocol

import numpy as np

from ray_jobs.gate.cluster_robust import Clusters
from ray_jobs.gate.moments import EMPTY, Moments, compute_moments, merge_moments
from ray_jobs.gate.paired_proportions import PairedProportionsTest
from ray_jobs.gate.proportion import ProportionTest
from ray_jobs.gate.skewed_mean import MIN_SIZE, MeanTest
from ray_jobs.gate.zero_variance import ZeroVarianceTest

STUDENT = "t with Hall's correction for skewness"
TANGO, MCNEMAR = "Tango's score test with continuity correction", "exact McNemar"


class Test(Protocol):
    """A test of a mean against a bound, in both directions. It also says how many images would decide."""

    @property
    def method(self) -> str: ...
    def p_below(self, bound: float) -> "float | np.ndarray": ...
    def p_above(self, bound: float) -> "float | np.ndarray": ...
    def interval(self, alpha: float) -> "tuple[float | np.ndarray, float | np.ndarray]": ...
    def decisive_n(self, bound: float, below: float, above: float, power: float) -> int | None: ...


class PredictiveTest(Test, Protocol):
    """A test that also predicts which difference it would detect."""

    def detectable(self, bound: float, alpha: float, power: float) -> "float | np.ndarray": ...


class Sample:
    """The moments of the values, the counts of -1, 0 and +1, and the sums per cluster if the values are clustered."""

    def __init__(self, is_clustered: bool = False) -> None:
        self.moments: Moments = EMPTY
        self.clusters = Clusters() if is_clustered else None
        self.minus = self.zero = self.plus = 0

    @property
    def n(self) -> int:
        return int(self.moments.n)

    @property
    def mean(self) -> float | None:
        return float(self.moments.mean) if self.n else None

    def add(self, values: np.ndarray, clusters: np.ndarray | None = None) -> None:
        """Add a chunk of values. None may be missing. `clusters` has the number of each value's cluster.

        Raises ValueError when the sample is clustered and `clusters` is None.
        """
        if not len(values):
            return
        self.moments = merge_moments(self.moments, compute_moments(values))
        self.minus += int((values == -1).sum())
        self.zero += int((values == 0).sum())
        self.plus += int((values == 1).sum())
        if self.clusters is not None:
            if clusters is None:
                raise ValueError("these values come in clusters: say which")
            self.clusters.add(clusters, values)

    def why_too_few(self) -> str | None:
        """The reason why a test that uses the spread has too few values; None when there are enough."""
        if self.clusters is not None and len(self.clusters) < MIN_SIZE:
            return f"only {len(self.clusters)} clusters, {MIN_SIZE} are needed"
        return f"only {self.n} images, {MIN_SIZE} are needed" if self.n < MIN_SIZE else None

    def build_test(self, order: int = 1) -> MeanTest:
        """The test that divides the mean by its standard error."""
        if self.clusters is not None:
            test = self.clusters.build_test()
            return replace(test, error=order * test.error, order=order)
        return build_mean_test(self.moments, order)


def build_mean_test(moments: Moments, order: int = 1) -> MeanTest:
    """The test of a mean over independent images. Array moments give a test of many samples at once."""
    error = order * np.sqrt(moments.variance / moments.n)
    return MeanTest(
        STUDENT, moments.mean, error, moments.skewness, moments.kurtosis, moments.n, moments.n - 1, moments.n, order
    )


def choose_difference_test(
    sample: Sample, kind: str, reach: float, margin: float, order: int = 1
) -> PredictiveTest | None:
    """The test of signed differences, each within [-reach, reach]; None when there are too few for any test.

    `order` is the metric's: the number of captions that one value is computed from.
    """
    if sample.n < 2:
        return None
    if kind == "share" and sample.clusters is None and sample.minus + sample.zero + sample.plus == sample.n:
        return PairedProportionsTest(sample.minus, sample.plus, sample.n, TANGO if margin else MCNEMAR)
    return _choose_mean_test(sample, -reach, reach, order)


def choose_value_test(sample: Sample, kind: str, least: float, most: float, order: int = 1) -> Test | None:
    """The test of the mean of the values themselves, each within [least, most]; None when there are too few."""
    if sample.n < 1:
        return None
    if kind == "share" and sample.zero + sample.plus == sample.n:
        return _choose_proportion_test(sample)
    return _choose_mean_test(sample, least, most, order)


def _choose_mean_test(sample: Sample, least: float, most: float, order: int) -> MeanTest | ZeroVarianceTest | None:
    """The test by the spread of the images or clusters. When there is no spread, the test by the metric's range.

    Where one caption counts in the values of all images, it moves their mean `order` times as far as its own value
    does: the variance of a U-statistic is order^2 var(x)/n (Hoeffding 1948, Ann. Math. Stat. 19:293).
    """
    value = float(sample.moments.mean)
    low, high = (value + order * (end - value) for end in (least, most))
    constant = ZeroVarianceTest(value, _count_independent(sample), low, high)
    if sample.moments.is_constant:
        return constant
    if sample.why_too_few():
        return None
    test = sample.build_test(order)
    return test if float(test.error) > 1e-12 * np.sqrt(float(sample.moments.variance)) else constant


def _choose_proportion_test(sample: Sample) -> Test | None:
    share = sample.plus / sample.n
    if sample.clusters is None or share in (0, 1):
        return ProportionTest(share * _count_independent(sample), _count_independent(sample), sample.n)
    if len(sample.clusters) < MIN_SIZE:
        return None
    error = float(sample.clusters.build_test().error)
    effective = min(share * (1 - share) / error**2, sample.n) if error else sample.n
    return ProportionTest(
        share * effective, effective, sample.n, "Clopper-Pearson with Korn and Graubard's effective sample size"
    )


def _count_independent(sample: Sample) -> int:
    """The number of independent values: one per cluster, because values within a cluster may be alike."""
    return sample.n if sample.clusters is None else len(sample.clusters)
