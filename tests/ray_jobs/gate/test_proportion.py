import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from ray_jobs.gate.proportion import ProportionTest


@settings(deadline=None, derandomize=True)
@given(n=some.integers(1, 500), share=some.floats(0, 1), alpha=some.sampled_from([0.05, 0.0027]))
def test_equal_to_statsmodels(n: int, share: float, alpha: float) -> None:
    count = round(share * n)
    low, high = proportion_confint(count, n, 2 * alpha, method="beta")
    assert ProportionTest(count, n, n).interval(alpha) == pytest.approx((low, high), abs=1e-9)
    for limit in (0.01, 0.3, 0.99):
        below = stats.binomtest(count, n, limit, alternative="less").pvalue
        above = stats.binomtest(count, n, limit, alternative="greater").pvalue
        assert ProportionTest(count, n, n).p_below(limit) == pytest.approx(below, abs=1e-9)
        assert ProportionTest(count, n, n).p_above(limit) == pytest.approx(above, abs=1e-9)


def test_the_rule_of_three() -> None:
    """For 0 of n, the bound at 5% is about 3/n, and ln(alpha)/ln(1 - limit) images show a limit."""
    low, high = ProportionTest(0, 300, 300).interval(0.05)
    assert low == 0.0
    assert high == pytest.approx(3 / 300, rel=0.01)
    assert (
        ProportionTest(0, 100, 100).decisive_n(0.01, 0.0027, 0.0027, 0.8)
        == np.ceil(np.log(0.0027) / np.log(0.99))
        == 589
    )


@pytest.mark.parametrize(("count", "limit"), [(5, 0.1), (20, 0.1), (3, 0.01)])
def test_the_decisive_number_of_images_decides_as_often_as_it_says(count: int, limit: float) -> None:
    n = ProportionTest(count, 100, 100).decisive_n(limit, 0.01, 0.01, 0.8)
    assert n
    later = np.random.default_rng(1).binomial(n, count / 100, 2000)
    p_values = [
        share.p_below(limit) if count / 100 < limit else share.p_above(limit)
        for share in (ProportionTest(int(total), n, n) for total in later)
    ]
    assert (np.array(p_values) <= 0.01).mean() == pytest.approx(0.8, abs=0.06)


def test_at_the_limit_no_number_of_images_decides() -> None:
    assert ProportionTest(1, 100, 100).decisive_n(0.01, 0.01, 0.01, 0.8) is None


def test_the_ends() -> None:
    none, every = ProportionTest(0, 10, 10), ProportionTest(10, 10, 10)
    assert none.interval(0.01)[0] == 0
    assert every.interval(0.01)[1] == 1
    assert none.p_below(0.0) == every.p_above(1.0) == 1
    assert none.p_below(1.0) == every.p_above(0.0) == 0
