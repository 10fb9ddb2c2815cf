"""For any values: no exception, no NaN in a verdict, and no outcome that contradicts the interval."""

import math
import warnings
from typing import Any

import numpy as np
import pytest
from declared_metrics import DeclaredMetric, make_pairs

from ray_jobs.gate.accumulator import Sample
from ray_jobs.gate.limits import check_limit
from ray_jobs.gate.non_inferiority import compare_metric

RANGES = ((0.0, 1.0), (0.0, 100.0), (-1.0, 1.0), (-math.inf, math.inf), (0.0, math.inf))


def nasty(random: np.random.Generator, n: int) -> np.ndarray:
    """Values that are constant, rare, tiny, huge, far from 0 or plain; some are missing or infinite."""
    kinds: list[Any] = [
        lambda: np.full(n, random.choice([0.0, 1.0, 0.5])),
        lambda: (random.random(n) < random.choice([0.01, 0.5, 0.99])).astype(float),
        lambda: random.random(n) * np.where(random.random(n) < 0.02, 1.0, 0.0),
        lambda: random.normal(size=n) * 1e-300,
        lambda: np.exp(random.normal(size=n) * 5) * 1e6,
        lambda: 1e9 + random.normal(size=n) * 1e-3,
        lambda: random.integers(0, 3, n).astype(float),
    ]
    values: np.ndarray = kinds[random.integers(len(kinds))]()
    gaps = random.random(n) < random.choice([0.0, 0.0, 0.2])
    return np.where(gaps, random.choice([np.nan, np.inf]), values)


@pytest.mark.parametrize("seed", range(8))
def test_any_values_give_a_finite_comparison(seed: int) -> None:
    random = np.random.default_rng(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(60):
            n = int(random.choice([0, 1, 2, 3, 9, 10, 11, 30, 100, 1000]))
            kind = str(random.choice(["mean", "share"]))
            span = (0.0, 1.0) if kind == "share" else RANGES[random.integers(len(RANGES))]
            metric = DeclaredMetric("any", int(random.choice([-1, 0, 1])), span, kind)
            old = nasty(random, n)
            new = old.copy() if random.random() < 0.2 else nasty(random, n)
            names = [f"label-{label}" for label in random.integers(0, random.choice([1, 12, 50]), n)] if n else None
            clusters = names if random.random() < 0.4 else None
            comparison = compare_metric(
                metric, make_pairs(metric, old, new, clusters), 0.01, 0.0027, family=3, expected=n
            )
            values = Sample()
            values.add(new[np.isfinite(new)])
            limit = check_limit(metric, values, "max", 0.5, 0.0027)
            for result in (comparison, limit):
                numbers = [value for value in result.model_dump().values() if isinstance(value, float)]
                assert all(math.isfinite(value) for value in numbers), result
            if comparison.outcome == "FAIL":
                assert comparison.high is None or comparison.high <= -comparison.margin + 1e-6
                assert (comparison.difference or 0) < -comparison.margin
