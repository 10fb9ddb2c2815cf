import numpy as np
import pytest
from declared_metrics import EMPTY, JUDGE, WORDS, DeclaredMetric, encode_clusters

from ray_jobs.gate.accumulator import Sample
from ray_jobs.gate.limits import check_limit

RANDOM = np.random.default_rng(13)


def sample(values: np.ndarray, clusters: list[str] | None = None) -> Sample:
    accumulator = Sample(clusters is not None)
    accumulator.add(np.asarray(values, dtype=float), encode_clusters(clusters))
    return accumulator


def ones(count: int, n: int) -> Sample:
    return sample(np.arange(n) < count)


def test_a_share_three_ways() -> None:
    within, beyond, unclear = (check_limit(EMPTY, ones(k, 2000), "max", 0.01, 0.0027) for k in (0, 60, 18))
    assert (within.outcome, beyond.outcome, unclear.outcome) == ("PASS", "FAIL", "INCONCLUSIVE")
    assert (within.value, within.low, within.method) == (0, 0, "Clopper-Pearson")
    assert within.high == pytest.approx(1 - 0.0027 ** (1 / 2000))
    assert unclear.decisive_n
    assert unclear.decisive_n > 2000


def test_too_few_images_for_a_limit_say_how_many_would_show_it() -> None:
    limit = check_limit(EMPTY, ones(0, 274), "max", 0.01, 0.0027)
    assert (limit.outcome, limit.decisive_n) == ("INCONCLUSIVE", 589)
    assert check_limit(EMPTY, ones(0, 589), "max", 0.01, 0.0027).outcome == "PASS"
    assert check_limit(EMPTY, ones(0, 588), "max", 0.01, 0.0027).outcome == "INCONCLUSIVE"


def test_a_least_share() -> None:
    assert check_limit(EMPTY, ones(990, 1000), "min", 0.95, 0.0027).outcome == "PASS"
    assert check_limit(EMPTY, ones(900, 1000), "min", 0.95, 0.0027).outcome == "FAIL"


def test_a_mean() -> None:
    values = np.clip(RANDOM.normal(0.7, 0.1, 300), 0, 1)
    assert check_limit(JUDGE, sample(values), "min", 0.6, 0.0027).outcome == "PASS"
    assert check_limit(JUDGE, sample(values), "min", 0.8, 0.0027).outcome == "FAIL"
    near = check_limit(JUDGE, sample(values), "min", 0.695, 0.0027)
    assert near.outcome == "INCONCLUSIVE"
    assert near.decisive_n
    assert check_limit(WORDS, sample(RANDOM.poisson(9, 100)), "max", 12, 0.0027).outcome == "PASS"


def test_values_that_are_all_the_same() -> None:
    assert (
        check_limit(DeclaredMetric("repetition", -1, (0, 1)), sample(np.zeros(500)), "max", 0.1, 0.0027).outcome
        == "PASS"
    )
    assert (
        check_limit(DeclaredMetric("repetition", -1, (0, 1)), sample(np.zeros(20)), "max", 0.1, 0.0027).outcome
        != "PASS"
    )


@pytest.mark.parametrize("n", [0, 1, 3])
def test_hardly_any_value_decides_nothing(n: int) -> None:
    for metric in (EMPTY, JUDGE):
        limit = check_limit(metric, sample(np.linspace(0, 0.5, n)), "max", 0.3, 0.0027)
        assert limit.outcome == "INCONCLUSIVE"


def test_a_limit_at_the_end_of_the_range_is_always_kept() -> None:
    assert check_limit(EMPTY, ones(5, 10), "max", 1.0, 0.0027).outcome == "PASS"
    assert check_limit(EMPTY, ones(5, 10), "min", 0.0, 0.0027).outcome == "PASS"
    assert check_limit(EMPTY, ones(0, 10**4), "max", 0.0, 0.0027).outcome == "INCONCLUSIVE", "none seen is not none"
    assert check_limit(EMPTY, ones(1, 10**4), "max", 0.0, 0.0027).outcome == "FAIL"


def test_clusters_count_for_less_than_their_images() -> None:
    names = [f"label-{index // 20}" for index in range(2000)]
    bad = np.repeat(RANDOM.random(100) < 0.05, 20)
    alone, together = (check_limit(EMPTY, values, "max", 0.1, 0.0027) for values in (sample(bad), sample(bad, names)))
    assert (alone.high or 1) < (together.high or 0)
    assert "Korn and Graubard" in together.method
    for value in (0, 1):  # then nothing shows how alike a cluster's images are: each cluster speaks once
        limit = check_limit(EMPTY, sample(np.full(2000, value), names), "max", 0.1, 0.0027)
        assert (limit.n, limit.outcome) == (2000, "FAIL" if value else "PASS")
        assert check_limit(EMPTY, sample(np.full(2000, value)), "max", 0.1, 0.0027).outcome == limit.outcome
    assert check_limit(EMPTY, sample(np.zeros(2000), names), "max", 0.01, 0.0027).outcome == "INCONCLUSIVE"
    assert check_limit(EMPTY, sample(np.zeros(2000)), "max", 0.01, 0.0027).outcome == "PASS"


def test_clusters_with_one_share_are_no_division_by_zero() -> None:
    limit = check_limit(
        EMPTY, sample(np.tile([0, 1], 60), [f"label-{index // 10}" for index in range(120)]), "max", 0.9, 0.0027
    )
    assert (limit.outcome, limit.value) == ("PASS", 0.5)


def test_at_the_limit_it_errs_at_most_at_alpha() -> None:
    counts = RANDOM.binomial(500, 0.02, 500)
    wrong = np.mean([(check_limit(EMPTY, ones(int(k), 500), "max", 0.02, 0.05).p_worse or 0) <= 0.05 for k in counts])
    assert wrong <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 500)
