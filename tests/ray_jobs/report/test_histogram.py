import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_jobs.report.histogram import BINS, Histogram, align_bins


def make_histogram(*batches: list[float]) -> Histogram:
    histogram = Histogram()
    for batch in batches:
        histogram.add(np.array(batch, dtype=float))
    return histogram


def inside(histogram: Histogram, values: list[float]) -> None:
    """Every bin holds exactly the values between its ends."""
    width = math.ldexp(1, histogram.exponent)
    for index, count in histogram.counts.items():
        assert count == sum(index * width <= value < (index + 1) * width for value in values)


FINITE = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e6, max_value=1e6, allow_subnormal=False)


@given(st.lists(st.lists(FINITE, max_size=30), max_size=4))
def test_every_value_is_in_its_bin_for_any_batches(batches: list[list[float]]) -> None:
    values = [value for batch in batches for value in batch]
    histogram = make_histogram(*batches)
    assert histogram.n == sum(histogram.counts.values()) == len(values)
    if values:
        assert max(histogram.counts) - min(histogram.counts) < BINS
        inside(histogram, values)
        assert histogram.mean == pytest.approx(np.mean(values), abs=1e-6)


def test_what_is_missing_is_left_out() -> None:
    histogram = make_histogram([math.nan, 1.0, math.inf, -math.inf])
    assert (histogram.n, histogram.mean) == (1, 1.0)
    assert make_histogram([math.nan]).mean is None
    assert make_histogram([]).n == 0


@pytest.mark.parametrize("value", [0.0, 1e300, -1e300, 1e-300, 5e-324, 0.1])
def test_all_equal(value: float) -> None:
    histogram = make_histogram([value] * 5)
    assert list(histogram.counts.values()) == [5]
    assert histogram.distinct == {value: 5}


def test_the_ends_of_what_a_float_can_be() -> None:
    histogram = make_histogram([-1.7e308, 1.7e308, 0.0])
    assert histogram.n == 3
    assert max(histogram.counts) - min(histogram.counts) < BINS


def test_few_values_are_counted_by_themselves() -> None:
    assert make_histogram([0, 1, 1], [1]).distinct == {0: 1, 1: 3}
    assert make_histogram([float(value) for value in range(13)]).distinct is None
    assert make_histogram(*([float(value)] for value in range(13))).distinct is None


def test_memory_is_constant() -> None:
    histogram = Histogram()
    generator = np.random.default_rng(0)
    for scale in range(200):
        histogram.add(generator.normal(0, 1 + scale, 1000))
    assert histogram.n == 200_000
    assert len(histogram.counts) <= BINS
    assert histogram.distinct is None


@given(st.lists(FINITE, min_size=1, max_size=40), st.lists(FINITE, max_size=40))
def test_two_over_the_same_bins(first: list[float], other: list[float]) -> None:
    edges, ones, others = align_bins(make_histogram(first), make_histogram(other))
    assert len(edges) == len(ones) + 1 == len(others) + 1 <= BINS + 1
    assert edges == sorted(edges)
    assert (sum(ones), sum(others)) == (len(first), len(other))
