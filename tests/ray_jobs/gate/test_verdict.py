import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from making import baseline, spec

from ray_jobs.contract import Gate, Manifest, Scores, Summary, Verdict
from ray_jobs.gate.pairing import Pairs
from ray_jobs.gate.verdict import decide

BASELINE = baseline(spec(called="step-0"))
RANDOM = np.random.default_rng(5)
SAME = RANDOM.normal(50, 10, 100)


def gate(*metrics: str, **settings: Any) -> Gate:
    return Gate.model_validate({"metrics": {name: {"margin": 1.0} for name in metrics}, "coverage": 0.99} | settings)


def scores(images: int = 100, no_caption: int = 0, **present: tuple[int, int]) -> Scores:
    """Scores of a run: of each metric, how many of how many expected values are there."""
    metrics = {
        name: Summary(n=n, expected=expected, mean=0, standard_error=0, low=0, high=0)
        for name, (n, expected) in present.items()
    }
    lost = {"no-caption": no_caption} if no_caption else {}
    manifest = Manifest(
        stage="scores", id="x", rows_in=images, rows_out=images - no_caption, lost=lost, parts=(),
        created_at=datetime.now(UTC),
    )  # fmt: skip
    return Scores(
        run_id="r", scale_id="s", images=images, scored=images - no_caption, failed=lost, metrics=metrics,
        manifest=manifest,
    )  # fmt: skip


FULL = scores(chrf=(100, 100), empty=(100, 100), repetition=(100, 100))


def decided(of: Gate, found: Scores = FULL, **pairs: np.ndarray) -> Verdict:
    return decide(of, found, BASELINE, {name: Pairs(SAME, values) for name, values in pairs.items()})


def test_the_first_run_is_accepted() -> None:
    verdict = decide(gate("chrf"), FULL, None, None)
    assert (verdict.outcome, verdict.baseline) == ("PASS", None)
    assert verdict.reason == "nothing to compare with yet: accepted as the first baseline"


def test_pass_fail_and_inconclusive() -> None:
    noise = RANDOM.normal(0, 1, 100)
    assert decided(gate("chrf"), chrf=SAME).outcome == "PASS"
    assert decided(gate("chrf"), chrf=SAME - 5 + noise).outcome == "FAIL"
    unclear = decided(gate("chrf"), chrf=SAME - 1 + noise)
    assert unclear.outcome == "INCONCLUSIVE"
    assert f"100 images; about {unclear.comparisons[0].decisive_n} would decide" in unclear.reason
    assert unclear.reason.endswith("against step-0")


def test_the_worst_metric_decides() -> None:
    noise = RANDOM.normal(0, 1, 100)
    good, bad, unclear = SAME, SAME - 5 + noise, SAME - 1 + noise
    both = gate("chrf", "exact_match")
    found = scores(chrf=(100, 100), exact_match=(100, 100))
    assert decided(both, found, chrf=good, exact_match=good).outcome == "PASS"
    assert decided(both, found, chrf=good, exact_match=bad).outcome == "FAIL"
    assert decided(both, found, chrf=unclear, exact_match=bad).outcome == "FAIL"
    assert decided(both, found, chrf=good, exact_match=unclear).outcome == "INCONCLUSIVE"


def test_of_some_metrics_less_is_better() -> None:
    more = SAME + 5 + RANDOM.normal(0, 1, 100)
    assert decided(gate("repetition"), repetition=more).outcome == "FAIL"
    assert decided(gate("chrf"), chrf=more).outcome == "PASS"


def test_alpha_is_shared_by_the_metrics() -> None:
    alone, shared = gate("chrf", alpha=0.02), gate("chrf", "empty", alpha=0.02)
    new = SAME + RANDOM.normal(0, 5, 100)
    one = decided(alone, chrf=new).comparisons[0]
    two = decided(shared, chrf=new, empty=SAME).comparisons[0]
    quarter = decided(gate("chrf", alpha=0.01), chrf=new).comparisons[0]
    assert (two.low, two.high) == (quarter.low, quarter.high)
    assert one.low is not None
    assert two.low is not None
    assert two.low < one.low


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (scores(no_caption=2, chrf=(98, 98)), "only 98 of 100 images have a caption, 99.0% are needed"),
        (scores(chrf=(98, 100)), "chrf is missing on 2 of 100 images"),
        (scores(chrf=(0, 0)), "chrf has no value on any image: the data set gives it nothing to measure"),
    ],
)
def test_too_much_missing_comes_before_every_other_verdict(found: Scores, told: str) -> None:
    for new in (SAME, SAME - 50):
        verdict = decided(gate("chrf"), found, chrf=new)
        assert (verdict.outcome, verdict.reason) == ("INCOMPLETE", told)
    assert decide(gate("chrf"), found, None, None).outcome == "INCOMPLETE"


def test_what_is_missing_within_the_coverage_is_left_out() -> None:
    new = SAME.copy()
    new[0] = math.nan
    verdict = decided(gate("chrf"), scores(chrf=(99, 100)), chrf=new)
    assert (verdict.outcome, verdict.comparisons[0].n) == ("PASS", 99)


def test_a_suite_that_gates_on_nothing_passes_and_says_so() -> None:
    assert decided(gate()).reason.startswith("the suite gates on no metric")


def test_the_whole_verdict_falsely_fails_at_most_at_alpha() -> None:
    """Three metrics, each exactly at its margin: the worst case of what is still acceptable."""
    random = np.random.default_rng(11)
    names = ("chrf", "exact_match", "judge")
    alpha, runs, fails = 0.05, 1500, 0
    found = scores(**dict.fromkeys(names, (30, 30)), images=30)
    of = gate(*names, alpha=alpha)
    for _ in range(runs):
        old = random.normal(0, 1, 30)
        pairs = {name: Pairs(old, old + random.normal(-1, 1, 30)) for name in names}
        fails += decide(of, found, BASELINE, pairs).outcome == "FAIL"
    assert 0.02 < fails / runs < alpha + 4 * math.sqrt(alpha * (1 - alpha) / runs)


def test_a_baseline_that_shares_too_few_images_decides_nothing() -> None:
    few = np.where(np.arange(100) < 50, SAME - 30, np.nan)
    verdict = decided(gate("chrf"), chrf=few)
    assert verdict.outcome == "INCOMPLETE"
    assert verdict.reason == "chrf: only 50 images have a value in both runs"
