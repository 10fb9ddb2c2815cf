import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from statsmodels.stats.multitest import multipletests

from ray_jobs.gate.holm import adjust_p_values


@settings(deadline=None, derandomize=True, max_examples=15)
@given(some.lists(some.floats(0, 1), min_size=1, max_size=12))
@pytest.mark.slow
def test_equal_to_statsmodels(ps: list[float]) -> None:
    assert adjust_p_values(ps) == pytest.approx(multipletests(ps, method="holm")[1])


def test_by_hand() -> None:
    assert adjust_p_values([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert adjust_p_values([]) == []


def test_the_family_errs_at_most_at_alpha() -> None:
    ps = np.random.default_rng(1).random((5000, 4))
    wrong = np.mean([min(adjust_p_values(list(row))) <= 0.05 for row in ps])
    assert wrong == pytest.approx(1 - (1 - 0.05 / 4) ** 4, abs=0.01)
