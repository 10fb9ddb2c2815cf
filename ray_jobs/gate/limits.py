"""Test one metric of the run against an absolute limit."""

import math
from typing import Literal

from ray_jobs.contract.artifacts import LimitCheck
from ray_jobs.gate.accumulator import Sample, choose_value_test
from ray_jobs.gate.paired_differences import GateMetric


def check_limit(
    metric: GateMetric,
    values: Sample,
    kind: Literal["max", "min"],
    limit: float,
    alpha: float,
    *,
    family: int = 1,
    power: float = 0.8,
) -> LimitCheck:
    """The result of testing the mean of `values` against `limit`.

    PASS when the test shows at `alpha` that the mean is within the limit. FAIL when the test shows the opposite. Else
    INCONCLUSIVE. `verdict` then corrects a FAIL for the whole family of tests. A mean exactly at the limit is within
    it. `decisive_n` is set unless the outcome is PASS. It uses alpha / `family` for FAIL.
    """
    test = choose_value_test(values, metric.kind, *metric.range, metric.order)
    check = LimitCheck(
        metric=metric.name, kind=kind, limit=limit, outcome="INCONCLUSIVE", n=values.n, value=values.mean,
        method=test.method if test else (values.why_too_few() or "no value"), low=None, high=None,
    )  # fmt: skip
    if test is None:
        return check
    below, above = float(test.p_below(limit)), float(test.p_above(limit))
    worse, within = (above, below) if kind == "max" else (below, above)
    if limit >= metric.range[1] if kind == "max" else limit <= metric.range[0]:
        worse, within = 1.0, 0.0  # no value can exceed the limit
    low, high = (float(end) for end in test.interval(alpha))
    sides = (alpha, alpha / family) if kind == "max" else (alpha / family, alpha)
    return check.model_copy(
        update={
            "outcome": "PASS" if within <= alpha else "FAIL" if worse <= alpha else "INCONCLUSIVE",
            "low": max(low, metric.range[0]) if math.isfinite(low) else None,
            "high": min(high, metric.range[1]) if math.isfinite(high) else None,
            "p_worse": worse,
            "decisive_n": test.decisive_n(limit, *sides, power) if within > alpha else None,
        }
    )
