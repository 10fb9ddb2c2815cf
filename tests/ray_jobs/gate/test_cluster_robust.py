import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from ray_jobs.gate.accumulator import Sample, choose_difference_test
from ray_jobs.gate.cluster_robust import Clusters, build_clustered_mean_test
from ray_jobs.gate.zero_variance import ZeroVarianceTest

RANDOM = np.random.default_rng(11)


def draw_clusters(number: int, between: float, unequal: bool = True) -> tuple[list[str], np.ndarray]:
    sizes = RANDOM.integers(5, 40, number) if unequal else np.full(number, 20)
    names = [f"label-{label}" for label, size in enumerate(sizes) for _ in range(size)]
    common = np.repeat(RANDOM.normal(0, between, number), sizes)
    return names, common + RANDOM.normal(0, 1, sizes.sum())


def make_clusters(names: list[str], values: np.ndarray, chunk: int) -> Clusters:
    clusters, numbers = Clusters(), np.unique(names, return_inverse=True)[1]
    for start in range(0, len(names), chunk):
        clusters.add(numbers[start : start + chunk], values[start : start + chunk])
    assert len(clusters) == numbers.max() + 1
    return clusters


@pytest.mark.parametrize("chunk", [1, 7, 10_000])
def test_error_and_freedom_are_those_of_the_cr2_regression_on_a_constant(chunk: int) -> None:
    """The matrices are written out (Bell and McCaffrey 2002). For clusters of one size, statsmodels' CR1 agrees."""
    names, values = draw_clusters(12, 1.0)
    n, groups = len(names), np.unique(names, return_inverse=True)[1]
    hat = np.full((n, n), 1 / n)
    residuals = values - values.mean()
    columns = []
    for group in range(12):
        members = np.nonzero(groups == group)[0]
        values_of, vectors = np.linalg.eigh(np.eye(len(members)) - hat[np.ix_(members, members)])
        root = vectors @ np.diag(values_of**-0.5) @ vectors.T
        columns.append((np.eye(n) - hat)[:, members] @ root @ np.full(len(members), 1 / n))
    quadratic = np.array(columns) @ np.array(columns).T
    estimate = make_clusters(names, values, chunk).build_test()
    assert float(estimate.estimate) == pytest.approx(values.mean())
    assert float(estimate.error) == pytest.approx(
        np.sqrt(sum((column @ residuals) ** 2 for column in columns)), rel=1e-6
    )
    assert float(estimate.freedom) == pytest.approx(
        np.trace(quadratic) ** 2 / np.trace(quadratic @ quadratic), rel=1e-6
    )
    assert float(estimate.freedom) < 11


def test_clusters_of_one_size() -> None:
    names, values = draw_clusters(15, 1.0, unequal=False)
    estimate = make_clusters(names, values, 64).build_test()
    groups = np.unique(names, return_inverse=True)[1]
    theirs = sm.OLS(values, np.ones(len(values))).fit(cov_type="cluster", cov_kwds={"groups": groups})
    assert float(estimate.error) == pytest.approx(theirs.bse[0], rel=1e-6)
    assert float(estimate.freedom) == pytest.approx(14)


def test_clusters_of_one_image_are_independent_images() -> None:
    values = RANDOM.normal(size=50)
    estimate = make_clusters([str(label) for label in range(50)], values, 8).build_test()
    assert float(estimate.error) == pytest.approx(stats.sem(values))
    assert (float(estimate.freedom), float(estimate.size)) == pytest.approx((49, 50))


def test_what_images_have_in_common_makes_the_interval_wider() -> None:
    names, values = draw_clusters(40, 1.0)
    alone, together = Sample(), Sample(is_clustered=True)
    alone.add(values)
    together.add(values, np.unique(names, return_inverse=True)[1])
    narrow, wide = (clusters.build_test().interval(0.025) for clusters in (alone, together))
    assert wide[0] < narrow[0]
    assert narrow[1] < wide[1]


@pytest.mark.parametrize("alpha", [0.05, 0.0027])
def test_at_the_bound_it_errs_at_most_at_alpha(alpha: float) -> None:
    sizes = np.maximum(np.round(20 * np.exp(0.5 * RANDOM.normal(size=(20_000, 20)))), 1)
    sums = sizes * RANDOM.normal(0, 0.6, sizes.shape) + np.sqrt(sizes) * RANDOM.normal(size=sizes.shape)
    wrong = (build_clustered_mean_test(sizes, sums).p_below(0.0) <= alpha).mean()
    assert wrong < alpha + 4 * np.sqrt(alpha / 20_000)


def test_clusters_that_are_all_alike_have_no_spread_to_go_by() -> None:
    """Every cluster has the same mean although its images differ. An error of 0 would make any t certain."""
    sample = Sample(is_clustered=True)
    sample.add(np.tile([-0.3, 0.1], 60), np.repeat(np.arange(12), 10))
    test = choose_difference_test(sample, "mean", 1.0, 0.05)
    assert isinstance(test, ZeroVarianceTest)
    assert test.n == 12
    assert test.value == pytest.approx(-0.1)
    assert test.p_below(-0.05) > 0.5


def test_few_clusters_decide_nothing_and_say_so() -> None:
    sample = Sample(is_clustered=True)
    sample.add(RANDOM.normal(-5, 1, 900), np.arange(900) % 3 * 7)
    assert choose_difference_test(sample, "mean", 10.0, 0.0) is None
    assert sample.why_too_few() == "only 3 clusters, 10 are needed"
    with pytest.raises(ValueError, match="say which"):
        sample.add(np.zeros(1))
