import math

import numpy as np
import pytest
from declared_metrics import CHRF, EXACT, JUDGE, WORDS, DeclaredMetric, make_pairs
from hypothesis import given, settings
from hypothesis import strategies as some

from ray_jobs.contract.artifacts import Comparison
from ray_jobs.gate.non_inferiority import compare_metric
from ray_jobs.gate.paired_differences import PairedDifferences

NAN = math.nan
RANDOM = np.random.default_rng(9)
VALUES = some.lists(some.integers(0, 100).map(float), min_size=2, max_size=40)
BITS = some.lists(some.integers(0, 1).map(float), min_size=2, max_size=40)
RANK = {"FAIL": 0, "INCONCLUSIVE": 1, "PASS": 2}


def compare(metric: DeclaredMetric, old: list[float], new: list[float], margin: float = 0.0, **k: object) -> Comparison:
    size = min(len(old), len(new))
    differences = make_pairs(metric, np.array(old[:size]), np.array(new[:size]))
    return compare_metric(metric, differences, margin, 0.01, **k)  # type: ignore[arg-type]


@settings(deadline=None, derandomize=True)
@given(values=VALUES, margin=some.floats(0, 10))
def test_the_same_captions_pass_at_any_margin(values: list[float], margin: float) -> None:
    for metric, observed in ((CHRF, values), (EXACT, [float(value > 50) for value in values])):
        differences = PairedDifferences(metric, has_same_captions=True)
        differences.add(np.array(observed), np.array(observed))
        comparison = compare_metric(metric, differences, margin, 0.01)
        assert (comparison.outcome, comparison.difference, comparison.p_worse, comparison.method) == (
            "PASS",
            0,
            1,
            "the same captions",
        )


@pytest.mark.parametrize("metric", [CHRF, EXACT])
def test_runs_that_happen_to_be_equal_pass_when_images_enough_say_so(metric: DeclaredMetric) -> None:
    """A share of margin / range of the population may be as bad as possible, and none of it be in the sample."""
    margin = 0.01 * metric.range[1]
    for n, outcome in ((300, "INCONCLUSIVE"), (459, "PASS")):
        comparison = compare(metric, [1.0] * n, [1.0] * n, margin)
        assert (comparison.outcome, comparison.p_worse) == (outcome, 1)
        assert comparison.p_margin == pytest.approx(0.99**n)
    assert compare(metric, [1.0] * 300, [1.0] * 300, margin).decisive_n == 459
    assert compare(metric, [1.0] * 300, [1.0] * 300).outcome == "INCONCLUSIVE", "at no margin is that enough"


@settings(deadline=None, derandomize=True)
@given(old=VALUES, new=VALUES, bits=some.tuples(BITS, BITS), margin=some.floats(0.01, 0.9))
def test_outcome_interval_and_p_agree(
    old: list[float], new: list[float], bits: tuple[list[float], list[float]], margin: float
) -> None:
    for comparison in (compare(CHRF, old, new, 10 * margin), compare(EXACT, *bits, margin), compare(EXACT, *bits)):
        if (
            comparison.p_margin is None
            or comparison.low is None
            or comparison.high is None
            or comparison.difference == 0
        ):
            continue
        assert comparison.low <= (comparison.difference or 0) + 1e-9
        assert comparison.high >= (comparison.difference or 0) - 1e-9
        if comparison.outcome == "PASS":
            assert comparison.low >= -comparison.margin - 1e-6
        elif comparison.outcome == "FAIL":
            assert comparison.high <= -comparison.margin + 1e-6
        if comparison.low > -comparison.margin + 1e-6:
            assert comparison.outcome == "PASS"


@settings(deadline=None, derandomize=True, max_examples=50)
@given(old=VALUES, new=VALUES, margin=some.floats(0, 10), wider=some.floats(0, 10))
def test_a_wider_margin_never_judges_worse(old: list[float], new: list[float], margin: float, wider: float) -> None:
    narrow, wide = compare(CHRF, old, new, margin), compare(CHRF, old, new, margin + wider)
    assert RANK[wide.outcome] >= RANK[narrow.outcome]


def test_three_ways() -> None:
    old = RANDOM.random(100) * 50
    noise = RANDOM.normal(0, 1, 100)
    better, worse, unclear = (compare(CHRF, list(old), list(old + by + noise), 1.0) for by in (2, -5, -1))
    assert (better.outcome, worse.outcome, unclear.outcome) == ("PASS", "FAIL", "INCONCLUSIVE")
    assert better.decisive_n is None
    assert unclear.decisive_n
    assert unclear.decisive_n > 100
    assert -1.5 < (better.detectable or 0) < -1
    assert better.method == "t with Hall's correction for skewness"


def test_a_family_makes_the_announcements_more_careful() -> None:
    old = RANDOM.random(200)
    new = list(np.clip(old + RANDOM.normal(-0.05, 0.1, 200), 0, 1))
    alone, one_of_four = compare(JUDGE, list(old), new, 0.05), compare(JUDGE, list(old), new, 0.05, family=4)
    assert (alone.low, alone.p_worse) == (one_of_four.low, one_of_four.p_worse)
    assert alone.detectable
    assert one_of_four.detectable
    assert one_of_four.detectable < alone.detectable < -0.05


def test_the_kind_chooses_the_test() -> None:
    old, new = [1.0] * 50, [0.0] * 5 + [1.0] * 45
    assert compare(EXACT, old, new).method == "exact McNemar"
    assert compare(EXACT, old, new, 0.1).method.startswith("Tango")
    assert compare(JUDGE, old, new).method.startswith("t ")
    assert compare(EXACT, [0.5, *old], [1.0, *new]).method.startswith("t "), "declared a share, but it is none"


@pytest.mark.parametrize(("old", "new"), [([], []), ([1.0], [0.0]), ([NAN, 1.0], [0.0, 0.0]), ([NAN] * 5, [NAN] * 5)])
def test_fewer_than_two_pairs_decide_nothing(old: list[float], new: list[float]) -> None:
    for metric in (CHRF, EXACT):
        comparison = compare(metric, old, new)
        assert (comparison.outcome, comparison.p_worse, comparison.low) == ("INCONCLUSIVE", None, None)


def test_a_few_images_with_a_spread_decide_nothing_and_say_so() -> None:
    comparison = compare(CHRF, [50.0, 60, 70], [1.0, 2, 3.5])
    assert (comparison.outcome, comparison.method) == ("INCONCLUSIVE", "only 3 images, 10 are needed")


def test_a_constant_difference_is_judged_by_the_range() -> None:
    old, lower = [0.5] * 200, [0.4] * 200
    assert compare(JUDGE, old, lower, 0.05).outcome == "FAIL"
    assert compare(JUDGE, old, lower, 0.1).outcome == "INCONCLUSIVE", "on the margin"
    assert compare(JUDGE, old, lower, 0.2).outcome == "PASS"
    assert compare(JUDGE, old[:3], lower[:3], 0.05).outcome == "INCONCLUSIVE", "three say little"
    endless = compare(DeclaredMetric(), old, lower, 0.05)
    assert (endless.outcome, endless.low, endless.high) == ("INCONCLUSIVE", None, None)


def test_a_metric_without_a_direction_concludes_nothing() -> None:
    comparison = compare(WORDS, [10.0] * 50, list(10 + RANDOM.normal(5, 1, 50)), advisory=True)
    assert (comparison.outcome, comparison.advisory) == ("INCONCLUSIVE", True)
    assert (comparison.difference or 0) > 4
    assert comparison.low is not None


def test_advice_is_a_95_percent_interval() -> None:
    new = RANDOM.normal(0.2, 1, 1000)
    comparison = compare_metric(DeclaredMetric(), make_pairs(DeclaredMetric(), np.zeros(1000), new), advisory=True)
    error = new.std(ddof=1) / math.sqrt(1000)
    assert comparison.low == pytest.approx(new.mean() - 1.96 * error, abs=0.01)
    assert (comparison.detectable, comparison.decisive_n) == (None, None)
