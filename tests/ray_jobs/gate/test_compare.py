import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from ray_jobs.contract import Comparison
from ray_jobs.gate.compare import compare

NAN = math.nan
VALUES = some.lists(some.floats(-100, 100).map(lambda value: round(value, 3)), min_size=2, max_size=30)


def against(
    old: list[float], new: list[float], direction: int = 1, margin: float = 0.0, alpha: float = 0.01
) -> Comparison:
    return compare("metric", np.array(old, dtype=float), np.array(new, dtype=float), direction, margin, alpha)


def test_by_hand() -> None:
    """Differences -1, 0, 1, 4: mean 1, s^2 = 14/3, error = s/2; one-sided t(0.95, 3) = 2.3534."""
    found = against([1, 1, 1, 1], [0, 1, 2, 5], margin=0.5, alpha=0.05)
    error = math.sqrt(14 / 3) / 2
    assert (found.n, found.baseline, found.candidate, found.difference) == (4, 1.0, 2.0, 1.0)
    assert found.low == pytest.approx(1 - 2.353363 * error, abs=1e-5)
    assert found.high == pytest.approx(1 + 2.353363 * error, abs=1e-5)
    assert found.outcome == "INCONCLUSIVE"
    assert found.decisive_n == math.ceil(((1.644854 + 0.841621) * math.sqrt(14 / 3) / 1.5) ** 2) == 13
    assert found.p_worse == pytest.approx(0.87, abs=0.01)  # t(3) below 1.5 / error = 1.389


@settings(deadline=None, derandomize=True)
@given(values=VALUES, margin=some.floats(0, 10), direction=some.sampled_from([-1, 1]))
def test_identical_runs_pass_at_any_margin(values: list[float], margin: float, direction: int) -> None:
    found = against(values, values, direction, margin)
    assert (found.outcome, found.difference) == ("PASS", 0)


@settings(deadline=None, derandomize=True)
@given(old=VALUES, new=VALUES, margin=some.floats(0, 10))
def test_the_direction_is_a_sign(old: list[float], new: list[float], margin: float) -> None:
    size = min(len(old), len(new))
    more = against(old[:size], new[:size], 1, margin)
    less = against([-value for value in old[:size]], [-value for value in new[:size]], -1, margin)
    assert (more.outcome, more.n, more.decisive_n) == (less.outcome, less.n, less.decisive_n)
    assert more.difference == pytest.approx(less.difference)
    assert (more.low, more.high) == (pytest.approx(less.low), pytest.approx(less.high))


@settings(deadline=None, derandomize=True)
@given(old=VALUES, new=VALUES)
def test_the_other_way_round_is_the_opposite(old: list[float], new: list[float]) -> None:
    size = min(len(old), len(new))
    there, back = against(old[:size], new[:size]), against(new[:size], old[:size])
    assert there.difference == -back.difference  # type: ignore[operator]
    assert there.low == -back.high  # type: ignore[operator]
    assert {there.outcome, back.outcome} != {"FAIL"}
    if there.outcome == "FAIL":
        assert back.outcome == "PASS"


@settings(deadline=None, derandomize=True)
@given(old=VALUES, new=VALUES, margin=some.floats(0, 10), wider=some.floats(0, 10))
def test_a_wider_margin_never_judges_worse(old: list[float], new: list[float], margin: float, wider: float) -> None:
    size = min(len(old), len(new))
    rank = {"FAIL": 0, "INCONCLUSIVE": 1, "PASS": 2}
    narrow = against(old[:size], new[:size], 1, margin)
    wide = against(old[:size], new[:size], 1, margin + wider)
    assert rank[wide.outcome] >= rank[narrow.outcome]


def test_a_missing_value_leaves_its_image_out_and_is_never_0() -> None:
    gaps = against([1, NAN, 3, 4, 5], [1, 2, NAN, 5, 6])
    assert gaps == against([1, 4, 5], [1, 5, 6])
    assert gaps.n == 3
    everything_missing = against([1, 2, 3], [NAN, NAN, NAN])
    assert (everything_missing.outcome, everything_missing.n) == ("INCONCLUSIVE", 0)
    assert everything_missing.difference is None


def test_fewer_than_two_pairs_decide_nothing() -> None:
    for old, new in (([], []), ([1.0], [0.0]), ([1.0, NAN], [0.0, 5.0])):
        assert against(old, new).outcome == "INCONCLUSIVE"


def test_a_constant_difference_is_judged_by_the_margin_alone() -> None:
    old = [1.0, 2.0, 3.0]
    worse = [value - 0.5 for value in old]
    assert against(old, worse, margin=0.5).outcome == "PASS"
    assert against(old, worse, margin=0.25).outcome == "FAIL"
    assert against(old, worse, direction=-1, margin=0).outcome == "PASS"
    assert against(old, worse, margin=0.25).p_worse == 0
    assert against(old, worse, margin=0.5).p_worse == 1


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_at_the_margin_it_falsely_fails_and_falsely_passes_at_most_at_alpha(alpha: float) -> None:
    random = np.random.default_rng(7)
    runs, margin = 4000, 0.3
    fails = passes = 0
    for _ in range(runs):
        old = random.normal(0, 1, 40)
        new = old + random.normal(-margin, 0.8, 40)
        outcome = compare("metric", old, new, 1, margin, alpha).outcome
        fails += outcome == "FAIL"
        passes += outcome == "PASS"
    spread = 4 * math.sqrt(alpha * (1 - alpha) / runs)
    assert abs(fails / runs - alpha) < spread
    assert abs(passes / runs - alpha) < spread


def test_the_decisive_number_of_images_decides_as_often_as_it_says() -> None:
    random = np.random.default_rng(3)
    effect, deviation, alpha = -0.2, 1.0, 0.01
    seen = random.normal(0, 1, 50)
    seen = effect + deviation * (seen - seen.mean()) / seen.std(ddof=1)
    named = against([0.0] * 50, seen.tolist(), alpha=alpha)
    assert named.outcome == "INCONCLUSIVE"
    assert named.decisive_n
    decided = sum(
        compare(
            "m", np.zeros(named.decisive_n), random.normal(effect, deviation, named.decisive_n), 1, 0, alpha
        ).outcome
        == "FAIL"
        for _ in range(1000)
    )
    assert 0.75 < decided / 1000 < 0.85
