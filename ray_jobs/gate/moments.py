"""Compute count, mean and central moments of values that arrive in chunks.

The sums use constant memory and are numerically stable.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Moments:
    """Sums of powers of the deviations from the mean: `m2 = sum (x - mean)^2`, and so on.

    Every field is a number. When there are many samples, every field is an array with one entry per sample.
    """

    n: np.ndarray
    mean: np.ndarray
    m2: np.ndarray
    m3: np.ndarray
    m4: np.ndarray
    least: np.ndarray
    most: np.ndarray

    @property
    def is_constant(self) -> np.ndarray:
        """True if all values are equal, apart from rounding. Then there is no spread that a test could use."""
        size = np.maximum(np.abs(self.least), np.abs(self.most))
        return np.asarray((self.n > 0) & (self.most - self.least <= 1e-9 * size))

    @property
    def variance(self) -> np.ndarray:
        return np.asarray(self.m2 / np.maximum(self.n - 1, 1))

    @property
    def skewness(self) -> np.ndarray:
        """g1 with the small-sample factor of Fisher and Pearson, sqrt(n(n-1))/(n-2); 0 for fewer than three values."""
        n = np.maximum(self.n, 3)
        with np.errstate(all="ignore"):
            raw = np.sqrt(n) * self.m3 / self.m2**1.5
        return np.where((self.n > 2) & np.isfinite(raw), raw * np.sqrt(n * (n - 1)) / (n - 2), 0.0)

    @property
    def kurtosis(self) -> np.ndarray:
        """Excess over the kurtosis of the normal distribution; 0 when there is no spread."""
        with np.errstate(all="ignore"):
            raw = self.n * self.m4 / self.m2**2 - 3
        return np.where(np.isfinite(raw), raw, 0.0)


EMPTY = Moments(*(np.asarray(zero) for zero in (0, 0.0, 0.0, 0.0, 0.0, np.inf, -np.inf)))


def compute_moments(values: np.ndarray) -> Moments:
    """The moments along the last axis."""
    n = values.shape[-1]
    if n == 0:
        return EMPTY
    mean = values.mean(axis=-1)
    off = values - mean[..., None]
    square = off * off
    m2, m3, m4 = square.sum(-1), (square * off).sum(-1), (square * square).sum(-1)
    return Moments(np.asarray(n), mean, m2, m3, m4, values.min(-1), values.max(-1))


def merge_moments(a: Moments, b: Moments) -> Moments:
    """The moments of both samples as one (Pébay 2008, SAND2008-6212, eqs. 1.4 to 1.6, after Chan et al. 1979)."""
    n = a.n + b.n
    if not n:
        return EMPTY
    d = (b.mean - a.mean) / n
    m2 = a.m2 + b.m2 + d**2 * a.n * b.n * n
    m3 = a.m3 + b.m3 + d**3 * a.n * b.n * (a.n - b.n) * n + 3 * d * (a.n * b.m2 - b.n * a.m2)
    m4 = (
        a.m4 + b.m4 + d**4 * a.n * b.n * (a.n**2 - a.n * b.n + b.n**2) * n
        + 6 * d**2 * (a.n**2 * b.m2 + b.n**2 * a.m2) + 4 * d * (a.n * b.m3 - b.n * a.m3)
    )  # fmt: skip
    return Moments(n, a.mean + d * b.n, m2, m3, m4, np.minimum(a.least, b.least), np.maximum(a.most, b.most))
