"""Means of values that belong to two captions each: every caption counts in all of its values."""

import numpy as np
from declared_metrics import make_pairs

from ray_jobs.gate.accumulator import Sample
from ray_jobs.gate.limits import check_limit
from ray_jobs.gate.non_inferiority import compare_metric
from ray_jobs.metrics.builtin.collapse import METRIC as COLLAPSE

ALPHA, NIGHTS, IMAGES = 0.05, 600, 300
CHANCE = 1 / np.arange(1, 21) / (1 / np.arange(1, 21)).sum()


def collapse(random: np.random.Generator) -> np.ndarray:
    """The metric's values of a run that gives one of twenty captions, the k-th with a probability of about 1/k."""
    labels = random.choice(20, IMAGES, p=CHANCE)
    return (np.bincount(labels, minlength=20)[labels] - 1) / (IMAGES - 1)


def most(alpha: float) -> float:
    """An upper bound that a share of nights with probability alpha hardly ever exceeds: four standard errors above."""
    return alpha + 4 * float(np.sqrt(alpha * (1 - alpha) / NIGHTS))


def test_two_runs_of_one_distribution_fail_as_seldom_as_alpha_says() -> None:
    random = np.random.default_rng(4)
    failed = clustered = 0
    names = [str(number) for number in range(IMAGES)]  # a cluster each
    for _ in range(NIGHTS):
        old, new = collapse(random), collapse(random)
        failed += compare_metric(COLLAPSE, make_pairs(COLLAPSE, old, new), 0.0, ALPHA).outcome == "FAIL"  # type: ignore[arg-type]
        differences = make_pairs(COLLAPSE, old, new, names)  # type: ignore[arg-type]
        clustered += compare_metric(COLLAPSE, differences, 0.0, ALPHA).outcome == "FAIL"
    assert 0.02 < failed / NIGHTS <= most(ALPHA)
    assert 0.02 < clustered / NIGHTS <= most(ALPHA)


def test_a_limit_at_the_true_mean_is_found_broken_as_seldom() -> None:
    random = np.random.default_rng(5)
    limit, broken = float((CHANCE**2).sum()), 0
    for _ in range(NIGHTS):
        accumulator = Sample()
        accumulator.add(collapse(random))
        broken += check_limit(COLLAPSE, accumulator, "max", limit, ALPHA).outcome == "FAIL"
    assert 0.02 < broken / NIGHTS <= most(ALPHA)


def test_a_caption_not_seen_would_move_the_mean_twice() -> None:
    """All captions are equal. A share w of other captions lowers the mean to (1 - w)^2, by nearly 2 w."""
    accumulator = Sample()
    accumulator.add(np.ones(100))
    low = check_limit(COLLAPSE, accumulator, "max", 0.5, ALPHA).low
    assert low is not None
    assert np.isclose(low, 1 - 2 * (1 - ALPHA**0.01))
