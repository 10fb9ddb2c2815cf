import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy import stats

from ray_jobs.gate.moments import EMPTY, Moments, compute_moments, merge_moments

VALUES = some.lists(some.floats(-100, 100).map(lambda value: round(value, 3)), max_size=40)


def merge_chunks(values: np.ndarray, size: int) -> Moments:
    moments = EMPTY
    for start in range(0, len(values), size):
        moments = merge_moments(moments, compute_moments(values[start : start + size]))
    return moments


@settings(deadline=None, derandomize=True)
@given(values=VALUES, size=some.integers(1, 7))
def test_chunks_give_the_result_of_all_values(values: list[float], size: int) -> None:
    array = np.array(values, dtype=float)
    parts, expected = merge_chunks(array, size), compute_moments(array)
    for name in ("n", "mean", "m2", "m3", "m4", "least", "most"):
        assert getattr(parts, name) == pytest.approx(getattr(expected, name), rel=1e-9, abs=1e-6), name


def test_equal_to_scipy() -> None:
    values = np.random.default_rng(1).lognormal(size=500)
    moments = merge_chunks(values, 64)
    assert moments.mean == pytest.approx(values.mean())
    assert moments.variance == pytest.approx(values.var(ddof=1))
    assert moments.skewness == pytest.approx(stats.skew(values, bias=False))
    assert moments.kurtosis == pytest.approx(stats.kurtosis(values))


def test_a_large_offset_costs_no_digits() -> None:
    """The textbook formula (sum of squares less squared sum) would leave no digits here."""
    values = np.random.default_rng(2).normal(1e9, 1.0, 100_000)
    assert merge_chunks(values, 300).variance == pytest.approx((values - 1e9).var(ddof=1), rel=1e-6)


def test_many_samples_at_once() -> None:
    values = np.random.default_rng(3).normal(size=(4, 30))
    together = compute_moments(values)
    for row, column in enumerate(values):
        assert together.skewness[row] == pytest.approx(compute_moments(column).skewness)


def test_without_spread_there_is_no_shape() -> None:
    for values in ([], [1.0], [0.3, 0.3, 0.3]):
        moments = compute_moments(np.array(values))
        assert (float(moments.skewness), float(moments.kurtosis)) == (0, 0)
    assert not compute_moments(np.array([])).is_constant
    assert compute_moments(np.array([0.1 + 0.2, 0.3])).is_constant, "rounding is no spread"
    assert not compute_moments(np.array([0.3, 0.300001])).is_constant
