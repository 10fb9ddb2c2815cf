"""Test one share against a bound by Clopper and Pearson's exact tests (1934, Biometrika 26:404)."""

from dataclasses import dataclass

import numpy as np
from scipy.special import betainc, betaincinv

from ray_jobs.gate.smallest_n import find_smallest_n

MAX_IMAGES = 10**9


@dataclass(frozen=True)
class ProportionTest:
    """The share `count / n`.

    For clustered images both are effective numbers, after Korn and Graubard (1998, Survey Methodology 24:193). The
    effective n is n divided by the ratio of the variance to the variance that independent images would have.
    """

    count: float
    n: float
    images: int
    method: str = "Clopper-Pearson"

    def p_below(self, bound: float) -> float:
        return _binomial_cdf(self.count, self.n, bound)

    def p_above(self, bound: float) -> float:
        return _binomial_cdf(self.n - self.count, self.n, 1 - bound)

    def interval(self, alpha: float) -> tuple[float, float]:
        low = 0.0 if self.count <= 0 else float(betaincinv(self.count, self.n - self.count + 1, alpha))
        high = 1.0 if self.count >= self.n else float(betaincinv(self.count + 1, self.n - self.count, 1 - alpha))
        return low, high

    def decisive_n(self, bound: float, below: float, above: float, power: float) -> int | None:
        """The number of images that would decide, if the true share is the observed one; None when none would.

        `below` and `above` are the alphas of finding the share below or above the bound.
        """
        seen = self.count / self.n
        if seen == bound:
            return None
        alpha = below if seen < bound else above
        if seen > bound:
            seen, bound = 1 - seen, 1 - bound
        many = find_smallest_n(
            lambda n: _compute_power(n, seen, bound, alpha) >= power, 1, MAX_IMAGES, precision=MAX_IMAGES
        )
        return None if many is None else int(np.ceil(many * self.images / self.n))


def _binomial_cdf(count: float, n: float, bound: float) -> float:
    """P(Bin(n, bound) <= count)."""
    if bound <= 0 or count >= n:
        return 1.0
    return 0.0 if bound >= 1 else float(1 - betainc(count + 1, n - count, bound))


def _compute_power(n: int, seen: float, bound: float, alpha: float) -> float:
    """P(the test finds the share below the bound): the probability of a count so small that its p is at most alpha."""
    few, many = -1, n
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (middle, many) if _binomial_cdf(middle, n, bound) <= alpha else (few, middle)
    return 0.0 if few < 0 else _binomial_cdf(few, n, seen) if seen > 0 else 1.0
