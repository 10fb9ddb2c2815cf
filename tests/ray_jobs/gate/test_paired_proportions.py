import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar

from ray_jobs.gate.paired_proportions import PairedProportionsTest, binomial_tail, losses_p_value
from ray_jobs.gate.paired_proportions_power import power_below

COUNTS = some.tuples(some.integers(0, 40), some.integers(0, 40), some.integers(0, 200))


def make_test(losses: int, gains: int, n: int) -> PairedProportionsTest:
    return PairedProportionsTest(losses, gains, n, "")


@pytest.mark.parametrize(("losses", "gains", "n"), [(9, 1, 30), (3, 3, 10), (0, 6, 6), (40, 12, 400), (0, 0, 5)])
def test_at_margin_0_it_is_mcnemars_exact_test(losses: int, gains: int, n: int) -> None:
    worse, better = float(losses_p_value(losses, gains, n, 0.0)), float(losses_p_value(gains, losses, n, 0.0))
    theirs = mcnemar([[n - losses - gains, losses], [gains, 0]], exact=True).pvalue
    assert min(1.0, 2 * min(worse, better)) == pytest.approx(theirs)
    if losses + gains:
        assert worse == pytest.approx(stats.binomtest(losses, losses + gains, alternative="greater").pvalue)


@pytest.mark.parametrize(("losses", "gains", "n", "margin"), [(16, 3, 100, 0.1), (9, 0, 50, 0.05), (30, 25, 274, -0.1)])
def test_tangos_variance_is_that_of_the_largest_likelihood(losses: int, gains: int, n: int, margin: float) -> None:
    """The score test by a numeric maximum of the trinomial likelihood, with the same correction of one image."""

    def likelihood(gain: float) -> float:
        loss = gain + margin
        same = 1 - loss - gain
        return -float(
            np.sum([k * math.log(p) for k, p in ((losses, loss), (gains, gain), (n - losses - gains, same)) if k])
        )

    low, high = max(0.0, -margin) + 1e-12, (1 - margin) / 2 - 1e-12
    gain = optimize.minimize_scalar(likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    excess = losses - gains - n * margin
    score = math.copysign(max(abs(excess) - 1, 0), excess) / math.sqrt(n * (2 * gain + margin - margin**2))
    assert losses_p_value(losses, gains, n, margin) == pytest.approx(stats.norm.sf(score), rel=1e-4)


@settings(deadline=None, derandomize=True)
@given(counts=COUNTS, alpha=some.sampled_from([0.05, 0.0027]))
def test_the_interval_is_what_is_not_rejected(counts: tuple[int, int, int], alpha: float) -> None:
    losses, gains, same = counts
    n = losses + gains + same
    if n < 2:
        return
    low, high = make_test(losses, gains, n).interval(alpha)
    assert -1 <= low <= (gains - losses) / n <= high <= 1
    for limit in (low, high):
        if 0 < abs(limit) < 1 - 1e-9:  # not at an end of the possible range
            p = losses_p_value(gains, losses, n, limit) if limit == low else losses_p_value(losses, gains, n, -limit)
            assert p == pytest.approx(alpha, rel=1e-3)


@settings(deadline=None, derandomize=True)
@given(counts=COUNTS, margin=some.floats(0, 0.5))
def test_a_wider_margin_never_makes_it_worse_and_p_is_one(counts: tuple[int, int, int], margin: float) -> None:
    losses, gains, same = counts
    n = losses + gains + same
    if n:
        p, wider = losses_p_value(losses, gains, n, margin), losses_p_value(losses, gains, n, margin + 0.1)
        assert 0 <= p <= 1
        if margin:
            assert wider >= p - 1e-9
        assert losses_p_value(losses, gains, n, margin) >= losses_p_value(losses + 1, gains, n + 1, margin) - 0.2


def test_runs_that_never_disagree() -> None:
    for n in (2, 30, 10**6):
        assert make_test(0, 0, n).p_above(0.0) == 1
        assert make_test(0, 0, n).p_above(-0.001) == pytest.approx(0.999**n)
        assert make_test(0, 0, n).p_above(0.01) > 0.0027
        assert make_test(0, 0, n).p_below(0.0) == 1


@pytest.mark.parametrize("margin", [0.0, 0.01, 0.05, 0.1])
@pytest.mark.parametrize("n", [30, 100, 300, 1000])
def test_the_exact_error_rate_is_at_most_alpha(n: int, margin: float) -> None:
    """Exact over the range of how often the runs disagree, not simulated. Tango's own test reaches 8.9% for 5%."""
    for alpha in (0.05, 0.0027):
        gains = [0.0, *np.geomspace(1e-4, (1 - margin) / 2 - 1e-9, 25)]
        worst = max(power_below(losses_p_value, n, gain + margin, gain, margin, alpha) for gain in gains)
        assert worst <= alpha * 1.05
        if n == 1000:
            assert worst > alpha * 0.8, "no more careful than need be"


def test_power_is_what_simulation_finds() -> None:
    random = np.random.default_rng(3)
    for n, loss, gain, margin in ((100, 0.2, 0.02, 0.05), (400, 0.1, 0.04, 0.0)):
        losses, gains, _ = random.multinomial(n, [loss, gain, 1 - loss - gain], 20_000).T
        share_rejected = (losses_p_value(losses, gains, n, margin) <= 0.01).mean()
        assert power_below(losses_p_value, n, loss, gain, margin, 0.01) == pytest.approx(share_rejected, abs=0.015)


def test_what_is_announced_is_reached() -> None:
    random = np.random.default_rng(4)
    for margin in (0.0, 0.05):
        worse = make_test(20, 12, 300).detectable(-margin, 0.0027, 0.8)
        losses, gains, _ = random.multinomial(300, [12 / 300 - worse, 12 / 300, 1 - 24 / 300 + worse], 20_000).T
        assert (losses_p_value(losses, gains, 300, margin) <= 0.0027).mean() == pytest.approx(0.8, abs=0.015)
    assert math.isnan(make_test(1, 0, 5).detectable(0.0, 0.0027, 0.8)), "five images can never tell"


@pytest.mark.parametrize(("losses", "gains"), [(12, 4), (4, 8)])
def test_the_decisive_number_of_images_decides_as_often_as_it_says(losses: int, gains: int) -> None:
    n = make_test(losses, gains, 100).decisive_n(-0.05, 0.01, 0.01, 0.8)
    assert n
    shares = [losses / 100, gains / 100, 1 - (losses + gains) / 100]
    losses_drawn, gains_drawn, _ = np.random.default_rng(5).multinomial(n, shares, 20_000).T
    p_values = (
        losses_p_value(losses_drawn, gains_drawn, n, 0.05)
        if losses > gains
        else losses_p_value(gains_drawn, losses_drawn, n, -0.05)
    )
    assert (p_values <= 0.01).mean() == pytest.approx(0.8, abs=0.03)


def test_on_the_margin_no_number_of_images_decides() -> None:
    assert make_test(5, 0, 100).decisive_n(-0.05, 0.01, 0.01, 0.8) is None
    assert make_test(3, 3, 100).decisive_n(0.0, 0.01, 0.01, 0.8) is None


def test_a_million_images() -> None:
    n = 1_280_000
    test = make_test(70_000, 5_000, n)
    assert test.p_below(-0.05) < 0.0027
    error = math.sqrt((75_000 / n - (65_000 / n) ** 2) / n)
    assert test.p_above(-0.0512) == pytest.approx(stats.norm.sf((0.0512 - 65_000 / n) / error), rel=0.03)
    low, high = test.interval(0.0027)
    assert -0.052 < low < -65_000 / n < high < -0.05
    assert test.detectable(-0.05, 0.0027, 0.8) == pytest.approx(-0.051, abs=0.001)


@settings(deadline=None, derandomize=True)
@given(least=some.integers(-2, 12), n=some.integers(0, 10), share=some.floats(0, 1))
def test_the_binomial_tail_is_scipys(least: int, n: int, share: float) -> None:
    tail = binomial_tail(np.asarray(least), np.asarray(n), share)
    assert tail == pytest.approx(stats.binom.sf(least - 1, n, share), abs=1e-9)
