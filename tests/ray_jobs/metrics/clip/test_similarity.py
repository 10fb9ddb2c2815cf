import pytest

from ray_jobs.metrics.clip import similarity


def test_by_hand() -> None:
    """2.5 * 0.3 = 0.75, and its harmonic mean with 0.8."""
    assert similarity.compute_scores(0.3, [0.5, 0.8, -1]) == {
        "clipscore": pytest.approx(0.75), "refclipscore": pytest.approx(2 * 0.75 * 0.8 / 1.55)
    }  # fmt: skip


def test_a_negative_cosine_is_0_and_no_reference_no_score() -> None:
    assert similarity.compute_scores(-0.2, []) == {"clipscore": 0, "refclipscore": None}
    assert similarity.compute_scores(-0.2, [-0.1]) == {"clipscore": 0, "refclipscore": 0}
    assert similarity.compute_scores(0.2, [-0.1]) == {"clipscore": 0.5, "refclipscore": 0}


def test_the_largest_values_are_within_the_declared_ranges() -> None:
    values = similarity.compute_scores(1.0000001, [1.0000001])
    for metric in similarity.METRICS:
        value = values[metric.name]
        assert value is not None
        assert metric.range[0] <= value <= metric.range[1]
