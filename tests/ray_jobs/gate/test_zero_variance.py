import math

import numpy as np
import pytest

from ray_jobs.gate.zero_variance import SameCaptionsTest, ZeroVarianceTest


def test_p_is_the_chance_that_no_other_value_was_seen() -> None:
    """0.5 on 20 images, with a range up to 1: for a mean of 0.6, a fifth of the values must be 1."""
    assert ZeroVarianceTest(0.5, 20, 0, 1).p_below(0.6) == pytest.approx(0.8**20)
    assert ZeroVarianceTest(0.5, 20, 0, 1).p_above(0.4) == pytest.approx(0.8**20)
    assert ZeroVarianceTest(0.5, 20, 0, 1).p_below(0.5) == ZeroVarianceTest(0.5, 20, 0, 1).p_above(0.5) == 1


def test_the_interval_is_what_is_not_rejected() -> None:
    test = ZeroVarianceTest(0.2, 30, -1, 1)
    low, high = test.interval(0.01)
    assert test.p_above(low) == pytest.approx(0.01)
    assert test.p_below(high) == pytest.approx(0.01)


def test_it_errs_at_most_at_alpha_when_rare_values_hide() -> None:
    """The worst case is a mean at the bound because of values at the end of the range, which a sample may miss."""
    n, limit, value = 40, 0.0, -0.1
    share = 0.1 / 1.1
    seen_none = np.random.default_rng(1).binomial(n, share, 20_000) == 0
    assert seen_none.mean() == pytest.approx(ZeroVarianceTest(value, n, -1, 1).p_below(limit), abs=0.005)


def test_without_an_end_of_the_range_nothing_is_beyond_doubt() -> None:
    test = ZeroVarianceTest(3.0, 10**6, -math.inf, math.inf)
    assert test.p_below(100.0) == test.p_above(-100.0) == 1
    assert test.interval(0.01) == (-math.inf, math.inf)
    assert test.decisive_n(4.0, 0.01, 0.01, 0.8) is None


def test_enough_of_the_same_decides() -> None:
    n = ZeroVarianceTest(0.0, 5, -1, 1).decisive_n(-0.05, 0.0027, 0.0027, 0.8)
    assert n
    assert ZeroVarianceTest(0.0, n, -1, 1).p_above(-0.05) <= 0.0027 < ZeroVarianceTest(0.0, n - 1, -1, 1).p_above(-0.05)
    assert ZeroVarianceTest(0.0, 5, -1, 1).decisive_n(0.0, 0.01, 0.01, 0.8) is None
    assert ZeroVarianceTest(0.0, 5, -1, 0).decisive_n(0.5, 0.01, 0.01, 0.8) == 1, "beyond the range"
    assert ZeroVarianceTest(0.0, 2, -100, 100).decisive_n(-2.2e-309, 0.01, 0.01, 0.8) is None, "of no float's number"


def test_equal_passes_at_any_margin_and_never_fails() -> None:
    for margin in (0.0, 0.1):
        assert SameCaptionsTest().p_above(-margin) == 0
        assert SameCaptionsTest().p_below(-margin) == 1
    assert SameCaptionsTest().interval(0.01) == (0, 0)
