import itertools
import math

import numpy as np
import pytest
from declared_metrics import CHRF, EMPTY, JUDGE, WORDS, DeclaredMetric, make_pairs

from ray_jobs.gate.paired_differences import PairedDifferences

NAN = math.nan
RANDOM = np.random.default_rng(3)


def test_chunks_give_the_result_of_all_values() -> None:
    old, new = RANDOM.random(500), RANDOM.random(500)
    new[RANDOM.random(500) < 0.1], old[RANDOM.random(500) < 0.1] = NAN, NAN
    at_once, chunked = make_pairs(JUDGE, old, new), PairedDifferences(JUDGE)
    for start in range(0, 500, 33):
        chunked.add(old[start : start + 33], new[start : start + 33])
    both = np.isfinite(old) & np.isfinite(new)
    assert at_once.n == chunked.n == both.sum()
    assert at_once.one_sided == chunked.one_sided == (np.isfinite(old) ^ np.isfinite(new)).sum()
    assert chunked.baseline == pytest.approx(old[both].mean())
    assert chunked.candidate == pytest.approx(new[both].mean())
    assert chunked.differences.mean == pytest.approx((new - old)[both].mean())
    assert chunked.worst_case(510) == pytest.approx(at_once.worst_case(510))


def test_a_missing_value_leaves_its_image_out_and_is_never_0() -> None:
    gaps = make_pairs(CHRF, [1, NAN, 3, 4, math.inf], [1, 2, NAN, 5, 6])
    assert (gaps.n, gaps.differences.mean) == (2, 0.5)
    nothing = make_pairs(CHRF, [NAN, NAN], [1, NAN])
    assert (nothing.n, nothing.baseline, nothing.differences.mean) == (0, None, None)


def test_the_direction_is_a_sign() -> None:
    assert make_pairs(EMPTY, [0, 0], [1, 0]).differences.mean == -0.5
    assert make_pairs(WORDS, [5, 5], [7, 5]).differences.mean == 1, "without a direction: candidate minus baseline"


@pytest.mark.parametrize("metric", [JUDGE, DeclaredMetric("cost", -1, (0, 1))])
def test_the_worst_case_is_that_of_every_way_to_fill_the_gaps(metric: DeclaredMetric) -> None:
    old, new = np.array([0.5, NAN, 0.2, NAN]), np.array([0.4, 0.9, NAN, NAN])
    gaps = int(np.isnan(old).sum() + np.isnan(new).sum())
    differences = []
    for ends in itertools.product((0.0, 1.0), repeat=gaps):
        filled = np.concatenate([old, new])
        filled[np.isnan(filled)] = ends
        differences.append(float((filled[4:] - filled[:4]).mean()) * metric.direction)
    assert make_pairs(metric, old, new).worst_case(4) == pytest.approx((min(differences), max(differences)))


def test_without_gaps_or_without_a_range_there_is_no_worst_case() -> None:
    low, high = make_pairs(JUDGE, [0.5, 0.5], [0.4, 0.5]).worst_case(2) or (0, 0)
    assert low == high == pytest.approx(-0.05)
    assert make_pairs(WORDS, [5], [NAN]).worst_case(1) is None
    assert PairedDifferences(JUDGE).worst_case(0) is None
    assert PairedDifferences(JUDGE).worst_case(3) == (-1, 1), "nothing is known of any image"
