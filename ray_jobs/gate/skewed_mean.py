"""Tests of a mean by its standard error: Student's t, made honest for skewed values.

Where values are skewed, the mean and its standard error are correlated and one tail of t is longer than Student's: at
alpha 0.0027 and 30 lognormal differences it errs twenty times as often as it says. So a p here is the larger one of
Student's and of Hall's, whose cubic transformation takes the skewness out (Hall 1992, J. R. Stat. Soc. B 54:221):

    g(T) = T + c T^2 + c^2 T^3 / 3 + skewness / (6 sqrt(n)),     c = skewness / (3 sqrt(n))

Skewness is measured from the data, and is measured too low just when the tail was not seen. So two of its standard
errors are added to it, and "worse" is not said at all while n < 50 skewness^2 (Cochran's rule, Sampling Techniques,
1977, 2.15, has 25 at 5%). docs/explanation/gate.md has the error rates.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit

from ray_jobs.gate.smallest_n import find_smallest_n

COCHRAN_FACTOR = 50.0
SPREAD_FACTOR = 20.0  # the spread is known to a ninth, sqrt(1 / (4 * 20)), where n >= 20 (kurtosis + 2)
MIN_SIZE = 10  # images, or clusters: fewer show nothing of the shape of their distribution
MAX_IMAGES = 10**12


@dataclass(frozen=True)
class MeanTest:
    """A mean with its error. `size` counts what is independent (images or clusters), `images` the images behind it,
    `order` is the metric's: how many captions a value is of.

    Fields are numbers, or arrays with an entry a sample, and so is what the methods give back.
    """

    method: str
    estimate: np.ndarray
    error: np.ndarray
    skewness: np.ndarray
    kurtosis: np.ndarray
    size: np.ndarray
    freedom: np.ndarray
    images: np.ndarray
    order: int = 1

    @property
    def is_withheld(self) -> np.ndarray:
        """Whether the values are too skewed, for so few, to say that their mean lies below anything."""
        return np.asarray(self.size < COCHRAN_FACTOR * np.maximum(self.skewness, 0) ** 2)

    def p_below(self, bound: float) -> np.ndarray:
        """p of "the true mean is at least the bound": small means it is below."""
        return np.where(self.is_withheld, 1.0, self._p(bound, 1))

    def p_above(self, bound: float) -> np.ndarray:
        """p of "the true mean is at most the bound": small means it is above."""
        return self._p(bound, -1)

    def interval(self, alpha: float) -> tuple[np.ndarray, np.ndarray]:
        """What neither test rejects at `alpha`, each side by itself."""
        low = _critical_value(alpha, self.size, self.freedom, -self.skewness)
        high = _critical_value(alpha, self.size, self.freedom, self.skewness)
        return self.estimate - low * self.error, self.estimate + high * self.error

    def detectable(self, bound: float, alpha: float, power: float) -> np.ndarray:
        """The true mean that is found below the bound with this power.

        NaN where spread and shape are known too badly to foretell by, or "below" could next time be withheld. Losses
        far out (skewness below -1) make the spread itself jump from sample to sample, so they need more.
        """
        spread = self.size >= self.order**2 * SPREAD_FACTOR * (np.maximum(self.kurtosis, 0) + 2)
        shape = self.size >= np.where(self.skewness < -1, 6, 2) * COCHRAN_FACTOR * self.skewness**2
        return np.where(spread & shape, bound - self._reach(self.size, alpha, power, 1), np.nan)

    def decisive_n(self, bound: float, below: float, above: float, power: float) -> int | None:
        """Images after which the mean, if it is as seen, is found below (at `below`) or above the bound.

        None when it lies on the bound, to within what 10^12 of them would tell.
        """
        excess = float(self.estimate - bound)
        side, alpha = (1, below) if excess < 0 else (-1, above)
        fewest = COCHRAN_FACTOR * max(float(self.skewness), 0.0) ** 2 if side == 1 else 0.0
        first = max(MIN_SIZE, int(np.ceil(fewest)))
        many = find_smallest_n(
            lambda n: bool(self._reach(np.asarray(n), alpha, power, side) <= abs(excess)), first, MAX_IMAGES
        )
        return None if many is None else int(np.ceil(many * float(self.images) / float(self.size)))

    def _p(self, bound: float, side: int) -> np.ndarray:
        t = side * (self.estimate - bound) / self.error
        skewness = _raise_skewness(side * self.skewness, self.size)
        c = skewness / (3 * np.sqrt(self.size))
        straight = t + c * t**2 + c**2 * t**3 / 3 + skewness / (6 * np.sqrt(self.size))
        return np.asarray(stdtr(self.freedom, np.maximum(t, straight)))

    def _reach(self, size: np.ndarray, alpha: float, power: float, side: int) -> np.ndarray:
        """How far from the bound a true mean must lie to be found beyond it with this power.

        It is found when mean + h s / sqrt(n) is beyond, h the critical value. That sum is normal to first order, its
        variance from those of mean, s and skewness and the covariance of the first two, skewness / (2n).
        """
        skewness, tail = side * self.skewness, np.maximum(self.kurtosis, -2) + 2
        deviation = self.error * np.sqrt(self.size) * (1 + tail / (8 * self.size))  # s is too small on average
        freedom = self.freedom * (size - 1) / np.maximum(self.size - 1, 1)
        h = _critical_value(alpha, size, freedom, skewness)
        slope = _critical_value(alpha, size, freedom, skewness + 0.05) - _critical_value(
            alpha, size, freedom, skewness - 0.05
        )
        variance = 1 + h * skewness / np.sqrt(size) + h**2 * tail / (4 * size)
        variance = variance + (slope / 0.1 * _error_of_skewness(skewness, size)) ** 2
        centre = h * (1 - tail / (8 * size))
        return np.asarray(deviation / np.sqrt(size) * (centre + ndtri(power) * np.sqrt(np.maximum(variance, 0.1))))


def _error_of_skewness(skewness: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The standard error of g1: that of normal values, sqrt(6/n), grown as it is for gamma-distributed ones when
    skewness is positive: 6/n (1 + 6 q + 5 q^2) with q = (skewness / 2)^2 (delta method; simulated in the tests)."""
    q = (np.maximum(skewness, 0) / 2) ** 2
    return np.asarray(np.sqrt(6 / size * (1 + 6 * q + 5 * q**2)))


def _raise_skewness(skewness: np.ndarray, size: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(skewness + 2 * _error_of_skewness(skewness, size), 0))


def _critical_value(alpha: float, size: np.ndarray, freedom: np.ndarray, skewness: np.ndarray) -> np.ndarray:
    """How many standard errors below the bound p is alpha: Student's quantile or the inverse of Hall's, the larger."""
    t = -stdtrit(freedom, alpha)
    skewness = _raise_skewness(skewness, size)
    c = np.maximum(skewness / (3 * np.sqrt(size)), 1e-9)
    hall = (1 - np.cbrt(1 - 3 * c * (t + skewness / (6 * np.sqrt(size))))) / c
    return np.asarray(np.maximum(t, hall))
