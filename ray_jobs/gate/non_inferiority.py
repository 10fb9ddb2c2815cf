"""Compare one metric of two runs by a test of non-inferiority. `verdict` calls this in the driver of `evaluate`."""

import math
from typing import Any, Literal

from ray_jobs.contract.artifacts import Comparison, Outcome
from ray_jobs.gate.accumulator import choose_difference_test
from ray_jobs.gate.paired_differences import GateMetric, PairedDifferences
from ray_jobs.gate.zero_variance import SameCaptionsTest

ADVISORY_ALPHA = 0.025  # on either side of a 95% interval


def compare_metric(
    metric: GateMetric,
    pairs: PairedDifferences,
    margin: float = 0.0,
    alpha: float = ADVISORY_ALPHA,
    *,
    family: int = 1,
    power: float = 0.8,
    expected: int | None = None,
    against: Literal["baseline", "anchor"] = "baseline",
    advisory: bool = False,
) -> Comparison:
    """The comparison by paired differences: PASS, FAIL or INCONCLUSIVE, with each error at most `alpha`.

    PASS when the test shows that the difference is above -margin. FAIL when the test shows that the difference is
    below -margin. Else INCONCLUSIVE. For a metric without a direction the difference is candidate minus baseline, and
    the outcome is always INCONCLUSIVE.

    Args:
        family: The number of tests that share alpha for FAIL. `detectable` and `decisive_n` use the first step of
            Holm's correction, alpha / family. `verdict` corrects the FAIL itself for the family.
        power: The probability that `detectable` and `decisive_n` are computed for.
        expected: The number of images that should have both values.
        advisory: The comparison is shown, but does not gate.
    """
    test = (
        SameCaptionsTest()
        if pairs.has_same_captions
        else choose_difference_test(pairs.differences, metric.kind, pairs.reach, margin, metric.order)
    )
    clusters = pairs.differences.clusters
    worst = pairs.worst_case(pairs.n + pairs.one_sided if expected is None else expected)
    comparison = Comparison(
        metric=metric.name,
        against=against,
        advisory=advisory,
        outcome="INCONCLUSIVE",
        method=test.method if test else (pairs.differences.why_too_few() or "too few images"),
        n=pairs.n,
        clusters=len(clusters) if clusters is not None else None,
        baseline=pairs.baseline,
        candidate=pairs.candidate,
        difference=pairs.differences.mean,
        low=None,
        high=None,
        margin=margin,
        p_worse=None,
        worst_low=worst[0] if worst else None,
        worst_high=worst[1] if worst else None,
    )
    if test is None:
        return comparison
    p_worse, p_margin = float(test.p_below(-margin)), float(test.p_above(-margin))
    low, high = (float(end) for end in test.interval(alpha))
    outcome: Outcome = "PASS" if p_margin <= alpha else "FAIL" if p_worse <= alpha else "INCONCLUSIVE"
    update: dict[str, Any] = {
        "outcome": outcome if metric.direction else "INCONCLUSIVE",
        "low": max(low, -pairs.reach) if math.isfinite(low) else None,
        "high": min(high, pairs.reach) if math.isfinite(high) else None,
        "p_worse": p_worse,
        "p_margin": p_margin,
    }
    if not advisory:
        detectable = float(test.detectable(-margin, alpha / family, power))
        within = math.isfinite(detectable) and detectable >= -pairs.reach
        update["detectable"] = detectable if within else None
        if p_margin > alpha and p_worse > alpha / family:
            update["decisive_n"] = test.decisive_n(-margin, alpha / family, alpha, power)
    return comparison.model_copy(update=update)
