"""Test a mean by its standard error, with Student's t corrected for skewed values.

When values are skewed, the mean and its standard error are correlated. One tail of t is then longer than Student's: at
alpha 0.0027 and 30 lognormal differences, Student's test errs twenty times as often as its alpha. So p here is the
larger of Student's p and Hall's p. Hall's cubic transformation removes the skewness (Hall 1992, J. R. Stat. Soc. B
54:221):

    g(T) = T + c T^2 + c^2 T^3 / 3 + skewness / (6 sqrt(n)),     c = skewness / (3 sqrt(n))

Skewness is measured from the data. The measurement is too low when the data contain no value from the tail. So the test
adds two standard errors of the skewness to it. The test never says "worse" while n < 50 skewness^2 (Cochran's rule,
Sampling Techniques, 1977, 2.15, has 25 at 5%). docs/explanation/gate.md has the error rates.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit

from ray_jobs.gate.smallest_n import find_smallest_n

COCHRAN_FACTOR = 50.0
SPREAD_FACTOR = 20.0  # n >= 20 (kurtosis + 2) makes the error of the spread at most a ninth, sqrt(1 / (4 * 20))
MIN_SIZE = 10  # images or clusters; fewer say nothing about the shape of the distribution
MAX_IMAGES = 10**12


@dataclass(frozen=True)
class MeanTest:
    """A mean with its standard error.

    `size` counts the independent units (images or clusters). `images` counts the images. `order` is the metric's: the
    number of captions that one value is computed from. Fields and results are numbers, or arrays with one entry per
    sample.
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
        """True if the values are too few and too skewed to say that their mean is below any bound."""
        return np.asarray(self.size < COCHRAN_FACTOR * np.maximum(self.skewness, 0) ** 2)

    def p_below(self, bound: float) -> np.ndarray:
        """p of "the true mean is at least the bound". A small p means that the mean is below."""
        return np.where(self.is_withheld, 1.0, self._p(bound, 1))

    def p_above(self, bound: float) -> np.ndarray:
        """p of "the true mean is at most the bound". A small p means that the mean is above."""
        return self._p(bound, -1)

    def interval(self, alpha: float) -> tuple[np.ndarray, np.ndarray]:
        """The means that neither Student's nor Hall's test rejects at `alpha` on each side."""
        low = _critical_value(alpha, self.size, self.freedom, -self.skewness)
        high = _critical_value(alpha, self.size, self.freedom, self.skewness)
        return self.estimate - low * self.error, self.estimate + high * self.error

    def detectable(self, bound: float, alpha: float, power: float) -> np.ndarray:
        """The true mean that the test finds below the bound with this power.

        NaN when spread and shape are too uncertain for a prediction, or when the next test might have to withhold
        "below". Far losses (skewness below -1) make the spread vary from sample to sample, so they need more images.
        """
        spread = self.size >= self.order**2 * SPREAD_FACTOR * (np.maximum(self.kurtosis, 0) + 2)
        shape = self.size >= np.where(self.skewness < -1, 6, 2) * COCHRAN_FACTOR * self.skewness**2
        return np.where(spread & shape, bound - self._reach(self.size, alpha, power, 1), np.nan)

    def decisive_n(self, bound: float, below: float, above: float, power: float) -> int | None:
        """The number of images that would decide, if the true mean is the observed one.

        `below` and `above` are the alphas of finding the mean below or above the bound. None when the mean is so close
        to the bound that 10^12 images or clusters would not decide.
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
        """The distance from the bound at which the test finds a true mean beyond the bound with this power.

        The test finds the mean beyond the bound when mean + h s / sqrt(n) is beyond it, where h is the critical value.
        That sum is normal to first order. Its variance follows from the variances of the mean, of s and of the
        skewness, and from the covariance of mean and s, skewness / (2n).
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
    """The standard error of g1.

    For normal values the standard error is sqrt(6/n). When skewness is positive, the variance grows as for
    gamma-distributed values: 6/n (1 + 6 q + 5 q^2) with q = (skewness / 2)^2 (delta method; simulated in the tests).
    """
    q = (np.maximum(skewness, 0) / 2) ** 2
    return np.asarray(np.sqrt(6 / size * (1 + 6 * q + 5 * q**2)))


def _raise_skewness(skewness: np.ndarray, size: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(skewness + 2 * _error_of_skewness(skewness, size), 0))


def _critical_value(alpha: float, size: np.ndarray, freedom: np.ndarray, skewness: np.ndarray) -> np.ndarray:
    """The distance from the bound, in standard errors, at which p is alpha.

    The distance is the larger of Student's quantile and the inverse of Hall's transformation.
    """
    t = -stdtrit(freedom, alpha)
    skewness = _raise_skewness(skewness, size)
    c = np.maximum(skewness / (3 * np.sqrt(size)), 1e-9)
    hall = (1 - np.cbrt(1 - 3 * c * (t + skewness / (6 * np.sqrt(size))))) / c
    return np.asarray(np.maximum(t, hall))
