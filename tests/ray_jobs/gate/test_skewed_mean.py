import math

import numpy as np
import pytest
from scipy import stats

from ray_jobs.gate.accumulator import build_mean_test
from ray_jobs.gate.moments import compute_moments
from ray_jobs.gate.skewed_mean import COCHRAN_FACTOR, MeanTest, _error_of_skewness

RANDOM = np.random.default_rng(7)


def build_test(values: np.ndarray) -> MeanTest:
    return build_mean_test(compute_moments(values))


def symmetric(n: int) -> np.ndarray:
    """Normal scores: no skewness at all."""
    return np.asarray(stats.norm.ppf((np.arange(n) + 0.5) / n))


def test_without_skewness_and_with_many_images_it_is_students_t() -> None:
    values = symmetric(200_000) + 0.01
    theirs = stats.ttest_1samp(values, 0.013, alternative="less").pvalue
    assert build_test(values).p_below(0.013) == pytest.approx(theirs, rel=0.02)
    low, high = build_test(values).interval(0.025)
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert low == pytest.approx(interval.low, abs=1e-4)
    assert high == pytest.approx(interval.high, abs=1e-4)


@pytest.mark.parametrize("n", [10, 30, 300])
def test_it_is_never_bolder_than_students_t(n: int) -> None:
    for _ in range(50):
        values = RANDOM.exponential(size=n) * RANDOM.choice([-1, 1])
        limit = float(values.mean() + RANDOM.normal() / math.sqrt(n))
        less, greater = (
            stats.ttest_1samp(values, limit, alternative=alternative).pvalue for alternative in ("less", "greater")
        )
        assert build_test(values).p_below(limit) >= less - 1e-12
        assert build_test(values).p_above(limit) >= greater - 1e-12


@pytest.mark.parametrize("alpha", [0.05, 0.0027])
def test_the_interval_is_what_is_not_rejected(alpha: float) -> None:
    for values in (RANDOM.normal(size=40), RANDOM.exponential(size=400), -RANDOM.exponential(size=400)):
        test = build_test(values)
        low, high = test.interval(alpha)
        assert test.p_above(float(low)) == pytest.approx(alpha, rel=1e-6)
        assert test._p(float(high), 1) == pytest.approx(alpha, rel=1e-6)


def test_the_other_way_round_is_the_opposite() -> None:
    values = RANDOM.exponential(size=50)
    there, back = build_test(values), build_test(-values)
    assert there.p_above(0.8) == pytest.approx(back._p(-0.8, 1))
    assert there.interval(0.01)[0] == pytest.approx(-back.interval(0.01)[1])


def test_few_skewed_values_give_no_p_value_of_worse() -> None:
    gains = np.where(np.arange(100) < 5, 1.0, 0.0) - 0.5
    test = build_test(gains)
    assert test.is_withheld
    assert test.size < COCHRAN_FACTOR * test.skewness**2
    assert test.p_below(0.0) == 1
    assert math.isnan(test.detectable(0.0, 0.01, 0.8))
    assert not build_test(-gains).is_withheld, "rare losses make it no bolder"


def test_the_error_of_skewness_is_that_of_gamma_values() -> None:
    for shape in (4.0, 1.0):
        skewness = 2 / math.sqrt(shape)
        spread = compute_moments(RANDOM.gamma(shape, 1, (1500, 2000))).skewness.std()
        assert spread == pytest.approx(_error_of_skewness(np.asarray(skewness), np.asarray(2000)), rel=0.1)
    assert _error_of_skewness(np.asarray(-1.0), np.asarray(600)) == 0.1


def test_detectable_agrees_with_the_noncentral_t() -> None:
    """Student's test alone, with its critical value in place of ours: power(delta) of a one-sided t-test."""
    n, alpha, power = 400, 0.01, 0.8
    values = symmetric(n)
    detectable = float(build_test(values).detectable(-0.2, alpha, power))
    shift = (-0.2 - detectable) / values.std(ddof=1) * math.sqrt(n)
    student = 1 - stats.nct.cdf(stats.t.isf(alpha, n - 1), n - 1, shift)
    assert power < student < power + 0.04, "caution about skewness costs a little power"


def test_what_is_announced_is_reached() -> None:
    n, alpha = 100, 0.01
    nights = build_mean_test(compute_moments(RANDOM.normal(size=(20_000, n))))
    announced = nights.detectable(0.0, alpha, 0.8)
    worse = float(np.nanmean(announced))
    later = build_mean_test(compute_moments(RANDOM.normal(worse, 1, (20_000, n))))
    assert (later.p_below(0.0) <= alpha).mean() == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("mean", [-0.2, 0.3])
def test_the_decisive_number_of_images_decides_as_often_as_it_says(mean: float) -> None:
    test = build_test(symmetric(60) / symmetric(60).std(ddof=1) + mean)
    n = test.decisive_n(0.0, 0.01, 0.01, 0.8)
    assert n
    later = build_mean_test(compute_moments(RANDOM.normal(mean, 1, (2000, n))))
    p_value = later.p_below(0.0) if mean < 0 else later.p_above(0.0)
    assert (p_value <= 0.01).mean() == pytest.approx(0.8, abs=0.04)


def test_on_the_bound_no_number_of_images_decides() -> None:
    assert build_test(np.array([-1.0, 1.0] * 20)).decisive_n(0.0, 0.01, 0.01, 0.8) is None
    assert build_test(symmetric(20) + 1e-9).decisive_n(1e-9, 0.01, 0.01, 0.8) is None


def test_of_skewed_gains_enough_is_what_the_rule_needs() -> None:
    test = build_test(np.where(np.arange(100) < 5, 1.0, 0.0) - 5.0)
    n = test.decisive_n(0.0, 0.01, 0.01, 0.8)
    assert n
    assert n >= COCHRAN_FACTOR * float(test.skewness) ** 2
    assert test.decisive_n(0.0, 0.01, 0.01, 0.8) == n


@pytest.mark.parametrize("alpha", [0.05, 0.0027])
@pytest.mark.parametrize("sign", [1, -1])
def test_at_the_bound_it_errs_at_most_at_alpha_however_skewed(alpha: float, sign: int) -> None:
    values = sign * (np.exp(RANDOM.normal(size=(20_000, 100))) - math.exp(0.5))
    with np.errstate(all="ignore"):
        wrong = (build_mean_test(compute_moments(values)).p_below(0.0) <= alpha).mean()
    assert wrong < alpha + 4 * math.sqrt(alpha / 20_000)
