"""Compare a candidate with its baseline on one metric, image by image."""

import math

import numpy as np
from scipy import stats

from ray_jobs.contract import Comparison, Outcome

POWER = 0.8  # of the sample size named when a comparison is inconclusive


def compare(
    metric: str, baseline: np.ndarray, candidate: np.ndarray, direction: int, margin: float, alpha: float
) -> Comparison:
    """Non-inferiority by `margin` from paired differences, three ways, each error at most `alpha`.

    The arrays hold one value an image, in the same order, NaN where missing; images that miss either are left out. With
    d the mean difference (positive is better) and Student's t for paired samples: PASS when the lower bound of d is
    above -margin, FAIL when the upper bound is below it, else INCONCLUSIVE with the number of images that would decide
    with 80% power if the difference seen is the true one.
    """
    both = ~(np.isnan(baseline) | np.isnan(candidate))
    old, new = baseline[both], candidate[both]
    n = len(old)
    if n < 2:
        return Comparison(
            metric=metric, outcome="INCONCLUSIVE", n=n, baseline=None, candidate=None, difference=None, low=None,
            high=None, margin=margin, p_worse=None,
        )  # fmt: skip
    differences = (new - old) * direction
    difference, deviation = float(differences.mean()), float(differences.std(ddof=1))
    error = deviation / math.sqrt(n)
    half = float(stats.t.ppf(1 - alpha, n - 1)) * error
    outcome: Outcome = "INCONCLUSIVE"
    if difference - half >= -margin:
        outcome = "PASS"
    elif difference + half < -margin:
        outcome = "FAIL"
    return Comparison(
        metric=metric,
        outcome=outcome,
        n=n,
        baseline=float(old.mean()),
        candidate=float(new.mean()),
        difference=difference,
        low=difference - half,
        high=difference + half,
        margin=margin,
        p_worse=_p_worse(difference + margin, error, n),
        decisive_n=_decisive_n(difference + margin, deviation, alpha) if outcome == "INCONCLUSIVE" else None,
    )


def _p_worse(excess: float, error: float, n: int) -> float:
    """p of the hypothesis that the candidate is no worse than the margin allows; small means it is worse."""
    if error == 0:
        return 0.0 if excess < 0 else 1.0
    return float(stats.t.cdf(excess / error, n - 1))


def _decisive_n(excess: float, deviation: float, alpha: float) -> int | None:
    """((z(1-alpha) + z(power)) s / |d + margin|)^2 images; None when the difference sits on the margin."""
    if excess == 0:
        return None
    z = float(stats.norm.ppf(1 - alpha) + stats.norm.ppf(POWER))
    return math.ceil((z * deviation / abs(excess)) ** 2)
