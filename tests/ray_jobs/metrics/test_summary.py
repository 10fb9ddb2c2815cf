import math

import numpy as np
import pytest
from scipy import stats

from ray_jobs.metrics import Metric
from ray_jobs.metrics.summary import summarise_metric

NAN = math.nan
MEAN = Metric("m", "points", +1, (0, 100))
SHARE = Metric("s", "share of captions", -1, (0, 1), "share")


def test_by_hand() -> None:
    """1, 2, 3, 4: mean 2.5, s^2 = 5/3, s/2 = 0.6455; t(0.975, 3) = 3.1824."""
    summary = summarise_metric(MEAN, np.array([1.0, 2.0, 3.0, 4.0]), expected=4)
    assert (summary.n, summary.expected, summary.mean) == (4, 4, 2.5)
    assert summary.standard_error == pytest.approx(math.sqrt(5 / 3) / 2)
    assert summary.low == pytest.approx(2.5 - 3.182446 * 0.645497, abs=1e-5)
    assert summary.high == pytest.approx(2.5 + 3.182446 * 0.645497, abs=1e-5)
    assert (summary.unit, summary.direction) == ("points", 1)


def test_a_share_has_wilsons_interval() -> None:
    summary = summarise_metric(SHARE, np.array([1.0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), expected=10)
    exact = stats.binomtest(1, 10).proportion_ci(0.95, "wilson")
    assert (summary.low, summary.high) == pytest.approx((exact.low, exact.high))


@pytest.mark.parametrize("hits", [0, 20])
def test_a_share_of_0_or_1_has_an_interval(hits: int) -> None:
    summary = summarise_metric(SHARE, np.array([1.0] * hits + [0.0] * (20 - hits)), expected=20)
    exact = stats.binomtest(hits, 20).proportion_ci(0.95, "wilson")
    assert (summary.low, summary.high) == pytest.approx((exact.low, exact.high), abs=1e-12)
    assert summary.low is not None
    assert summary.high is not None
    assert 0.15 < summary.high - summary.low < 0.2
    assert 0 <= summary.low <= summary.high <= 1


def test_a_missing_value_is_missing_and_never_0() -> None:
    with_gaps = summarise_metric(MEAN, np.array([NAN, 1.0, NAN, 3.0]), expected=4)
    assert (with_gaps.n, with_gaps.expected, with_gaps.mean) == (2, 4, 2.0)
    assert with_gaps.standard_error == summarise_metric(MEAN, np.array([1.0, 3.0]), 2).standard_error
    assert sum(with_gaps.histogram) == 2


def test_one_value_has_no_error_bar_and_none_no_mean() -> None:
    summary = summarise_metric(MEAN, np.array([NAN, 7.0]), expected=2)
    assert (summary.n, summary.mean, summary.standard_error, summary.low, summary.high) == (1, 7.0, None, None, None)
    assert set(summary.quantiles.values()) == {7.0}
    for values in (np.array([]), np.array([NAN, NAN])):
        none = summarise_metric(MEAN, values, expected=2)
        assert (none.n, none.mean, none.standard_error, none.low, none.high) == (0, None, None, None, None)
        assert (none.quantiles, none.edges, none.histogram, none.unit) == ({}, (), (), "points")


def test_the_distribution_not_only_the_mean() -> None:
    summary = summarise_metric(MEAN, np.arange(101.0), expected=101)
    assert summary.quantiles == {"1": 1, "5": 5, "25": 25, "50": 50, "75": 75, "95": 95, "99": 99}
    assert (len(summary.edges), len(summary.histogram), sum(summary.histogram)) == (41, 40, 101)
    assert (summary.edges[0], summary.edges[-1]) == (0, 100)


@pytest.mark.parametrize("value", [0.0, 3.0, 1e20, -1e-300])
def test_all_values_equal(value: float) -> None:
    summary = summarise_metric(MEAN, np.full(1000, value), expected=1000)
    assert summary.mean == pytest.approx(value)
    assert sum(summary.histogram) == 1000
    assert summary.low is not None
    assert math.isfinite(summary.low)


def test_values_that_differ_by_rounding_only() -> None:
    values = np.array([0.3, 0.1 + 0.2] * 10)
    summary = summarise_metric(MEAN, values, expected=20)
    assert summary.mean == pytest.approx(0.3)
    assert summary.histogram == (20,)
    assert summary.edges[0] < 0.3 < summary.edges[1]


def test_the_interval_holds_the_true_mean_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(1000):
        summary = summarise_metric(MEAN, random.normal(3, 2, 12), expected=12)
        assert summary.low is not None
        assert summary.high is not None
        covered += summary.low <= 3 <= summary.high
    assert 0.93 < covered / 1000 < 0.97


def test_a_value_that_compares_with_all_captions_has_twice_the_error() -> None:
    """Hoeffding 1948: the mean of x(i) = share of the others like i varies by 4 var(x)/n."""
    values = np.array([0.1, 0.2, 0.4, 0.4, 0.1])
    first, second = (summarise_metric(Metric("c", "share", -1, (0, 1), order=order), values, 5) for order in (1, 2))
    assert first.standard_error is not None
    assert second.standard_error == 2 * first.standard_error
    assert second.high is not None
    assert first.high is not None
    assert second.high - 0.24 == pytest.approx(2 * (first.high - 0.24))
