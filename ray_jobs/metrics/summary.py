"""Summarise a metric over all images: its mean with an error bar, and its distribution."""

import numpy as np
from scipy.special import ndtri, stdtrit

from ray_jobs.contract.artifacts import Summary
from ray_jobs.metrics import Metric

CONFIDENCE = 0.95
QUANTILES = (1, 5, 25, 50, 75, 95, 99)  # percent
BINS = 40


def summarise_metric(metric: Metric, values: np.ndarray, expected: int) -> Summary:
    """Mean, standard error m s/sqrt(n), 95% interval, quantiles and histogram of the present values (NaN is missing).

    The interval is Student's for a mean and Wilson's for a share (Wilson 1927, without continuity correction). Wilson's
    interval exists even for one value. m is the metric's order. When each value compares its caption with all others,
    the mean is a U-statistic, whose variance is m^2 var(x)/n (Hoeffding 1948, Ann. Math. Stat. 19:293). `expected`
    counts the images that should have a value. Without any value the mean is None.
    """
    present = values[~np.isnan(values)]
    n = len(present)
    facts = {"n": n, "expected": expected, "unit": metric.unit, "direction": metric.direction}
    if n == 0:
        return Summary(**facts, mean=None, standard_error=None, low=None, high=None)
    mean = float(present.mean())
    error = float(metric.order * present.std(ddof=1) / np.sqrt(n)) if n > 1 else None
    low, high = _wilson_interval(mean, n) if metric.kind == "share" else _student_interval(mean, error, n)
    counts, edges = _compute_histogram(present)
    return Summary(
        **facts,
        mean=mean,
        standard_error=error,
        low=low,
        high=high,
        quantiles=dict(zip(map(str, QUANTILES), np.percentile(present, QUANTILES).tolist(), strict=True)),
        edges=tuple(edges.tolist()),
        histogram=tuple(counts.tolist()),
    )


def _compute_histogram(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(counts, edges) of 40 bins over the range of the values; one bin when the values are too close for 40."""
    low, high = float(values.min()), float(values.max())
    edges = np.linspace(low, high, BINS + 1) if low < high else np.linspace(low - 0.5, high + 0.5, BINS + 1)
    if np.all(edges[1:] > edges[:-1]):
        return np.histogram(values, edges)
    room = max(abs(low), abs(high), 1.0) * 1e-6
    return np.array([len(values)]), np.array([low - room, high + room])


def _student_interval(mean: float, error: float | None, n: int) -> tuple[float | None, float | None]:
    if error is None:
        return None, None
    half = float(stdtrit(n - 1, 0.5 + CONFIDENCE / 2)) * error
    return mean - half, mean + half


def _wilson_interval(share: float, n: int) -> tuple[float, float]:
    z = float(ndtri(0.5 + CONFIDENCE / 2))
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))
