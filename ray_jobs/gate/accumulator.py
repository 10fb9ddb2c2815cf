"""Values that arrive chunk by chunk, and the test of their mean that suits them."""

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
    """A mean against a bound, two ways, and what would decide."""

    @property
    def method(self) -> str: ...
    def p_below(self, bound: float) -> "float | np.ndarray": ...
    def p_above(self, bound: float) -> "float | np.ndarray": ...
    def interval(self, alpha: float) -> "tuple[float | np.ndarray, float | np.ndarray]": ...
    def decisive_n(self, bound: float, below: float, above: float, power: float) -> int | None: ...


class PredictiveTest(Test, Protocol):
    """A test that can say what it would find."""

    def detectable(self, bound: float, alpha: float, power: float) -> "float | np.ndarray": ...


class Sample:
    """Moments of the values, how many are -1 and +1, and their sums by cluster where they come in clusters."""

    def __init__(self, clustered: bool = False) -> None:
        self.moments: Moments = EMPTY
        self.clusters = Clusters() if clustered else None
        self.minus = self.zero = self.plus = 0

    @property
    def n(self) -> int:
        return int(self.moments.n)

    @property
    def mean(self) -> float | None:
        return float(self.moments.mean) if self.n else None

    def add(self, values: np.ndarray, clusters: np.ndarray | None = None) -> None:
        """One more chunk of values, none missing, and the number of each one's cluster."""
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
        """What there is too little of for a test that goes by the spread, or None."""
        if self.clusters is not None and len(self.clusters) < MIN_SIZE:
            return f"only {len(self.clusters)} clusters, {MIN_SIZE} are needed"
        return f"only {self.n} images, {MIN_SIZE} are needed" if self.n < MIN_SIZE else None

    def studentised(self, order: int = 1) -> MeanTest:
        """The test of the mean by its standard error."""
        if self.clusters is not None:
            test = self.clusters.studentised()
            return replace(test, error=order * test.error, order=order)
        return build_mean_test(self.moments, order)


def build_mean_test(seen: Moments, order: int = 1) -> MeanTest:
    """The test of the mean of values of independent images; many samples at once when the moments are arrays."""
    error = order * np.sqrt(seen.variance / seen.n)
    return MeanTest(STUDENT, seen.mean, error, seen.skewness, seen.kurtosis, seen.n, seen.n - 1, seen.n, order)


def choose_difference_test(
    seen: Sample, kind: str, reach: float, margin: float, order: int = 1
) -> PredictiveTest | None:
    """The test of signed differences, each within [-reach, reach]; None where there are too few to tell anything.

    `order` is the metric's: how many captions a value is of.
    """
    if seen.n < 2:
        return None
    if kind == "share" and seen.clusters is None and seen.minus + seen.zero + seen.plus == seen.n:
        return PairedProportionsTest(seen.minus, seen.plus, seen.n, TANGO if margin else MCNEMAR)
    return _choose_mean_test(seen, -reach, reach, order)


def choose_value_test(seen: Sample, kind: str, least: float, most: float, order: int = 1) -> Test | None:
    """The test of the mean of the values themselves, each within [least, most]."""
    if seen.n < 1:
        return None
    if kind == "share" and seen.zero + seen.plus == seen.n:
        return _choose_proportion_test(seen)
    return _choose_mean_test(seen, least, most, order)


def _choose_mean_test(seen: Sample, least: float, most: float, order: int) -> MeanTest | ZeroVarianceTest | None:
    """By the spread of the images, or of the clusters; by the range where there is none.

    A caption that counts in all values moves their mean `order` times as far as its own value does: the variance of a
    U-statistic is order^2 var(x)/n (Hoeffding 1948, Ann. Math. Stat. 19:293).
    """
    value = float(seen.moments.mean)
    low, high = (value + order * (end - value) for end in (least, most))
    constant = ZeroVarianceTest(value, _count_independent(seen), low, high)
    if seen.moments.constant:
        return constant
    if seen.why_too_few():
        return None
    test = seen.studentised(order)
    return test if float(test.error) > 1e-12 * np.sqrt(float(seen.moments.variance)) else constant


def _choose_proportion_test(seen: Sample) -> Test | None:
    share = seen.plus / seen.n
    if seen.clusters is None or share in (0, 1):
        return ProportionTest(share * _count_independent(seen), _count_independent(seen), seen.n)
    if len(seen.clusters) < MIN_SIZE:
        return None
    error = float(seen.clusters.studentised().error)
    effective = min(share * (1 - share) / error**2, seen.n) if error else seen.n
    return ProportionTest(
        share * effective, effective, seen.n, "Clopper-Pearson with Korn and Graubard's effective sample size"
    )


def _count_independent(seen: Sample) -> int:
    """Values that speak for themselves: one a cluster, when nothing shows how alike they are within."""
    return seen.n if seen.clusters is None else len(seen.clusters)
