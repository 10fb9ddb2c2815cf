import math

import numpy as np
import pytest

from ray_jobs.metrics.summary import summarise

NAN = math.nan


def test_by_hand() -> None:
    """1, 2, 3, 4: mean 2.5, s^2 = 5/3, s/2 = 0.6455; t(0.975, 3) = 3.1824."""
    found = summarise(np.array([1.0, 2.0, 3.0, 4.0]), expected=4)
    assert (found.n, found.expected, found.mean) == (4, 4, 2.5)
    assert found.standard_error == pytest.approx(math.sqrt(5 / 3) / 2)
    assert found.low == pytest.approx(2.5 - 3.182446 * 0.645497, abs=1e-5)
    assert found.high == pytest.approx(2.5 + 3.182446 * 0.645497, abs=1e-5)


def test_a_missing_value_is_missing_and_never_0() -> None:
    with_gaps = summarise(np.array([NAN, 1.0, NAN, 3.0]), expected=4)
    assert (with_gaps.n, with_gaps.expected, with_gaps.mean) == (2, 4, 2.0)
    assert with_gaps.standard_error == summarise(np.array([1.0, 3.0]), 2).standard_error


def test_one_value_has_no_error_bar_and_none_no_mean() -> None:
    one = summarise(np.array([NAN, 7.0]), expected=2)
    assert (one.n, one.mean, one.standard_error, one.low, one.high) == (1, 7.0, None, None, None)
    for values in (np.array([]), np.array([NAN, NAN])):
        none = summarise(values, expected=2)
        assert (none.n, none.mean, none.standard_error, none.low, none.high) == (0, None, None, None, None)


def test_the_interval_holds_the_true_mean_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    held = 0
    for _ in range(2000):
        found = summarise(random.normal(3, 2, 12), expected=12)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 3 <= found.high
    assert 0.935 < held / 2000 < 0.965
