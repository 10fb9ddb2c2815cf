import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from declared_metrics import CHRF, EMPTY, EXACT, JUDGE, WORDS, DeclaredMetric, make_pairs
from samples import make_baseline, make_spec

from ray_jobs.contract.artifacts import Manifest, Scores, Summary, Verdict
from ray_jobs.contract.sections.gate import Gate
from ray_jobs.gate.accumulator import Sample
from ray_jobs.gate.no_baseline import NoBaseline
from ray_jobs.gate.verdict import ComparisonSide, decide_verdict

BASELINE, ANCHOR = make_baseline(make_spec(called="step-0800")), make_baseline(make_spec(called="step-0100"))
RANDOM = np.random.default_rng(5)
SAME = RANDOM.normal(50, 10, 100)
BEFORE = SAME + np.random.default_rng(6).normal(0, 0.1, 100)
RIGHT = (RANDOM.random(100) < 0.9).astype(float)
LANGUAGE = DeclaredMetric("language", range=(0, 1), kind="share", needs="text")
METRICS: Mapping[str, DeclaredMetric] = {metric.name: metric for metric in (CHRF, EXACT, JUDGE, EMPTY, LANGUAGE)}


def gate(*metrics: str, **settings: Any) -> Gate:
    return Gate.model_validate({"metrics": {name: {"margin": 1.0} for name in metrics}, "coverage": 0.99} | settings)


def scores(images: int = 100, no_caption: int = 0, **present: tuple[int, int]) -> Scores:
    """Scores of a run: for each metric, how many of how many expected values exist."""
    metrics = {
        name: Summary(n=n, expected=expected, mean=0, standard_error=0, low=0, high=0)
        for name, (n, expected) in present.items()
    }
    lost_counts = {"no-caption": no_caption} if no_caption else {}
    manifest = Manifest(
        stage="scores", id="x", rows_in=images, rows_out=images - no_caption, lost=lost_counts, parts=(),
        created_at=datetime.now(UTC),
    )  # fmt: skip
    return Scores(
        run_id="r", scoring_id="s", images=images, scored=images - no_caption, failed=lost_counts, metrics=metrics,
        manifest=manifest,
    )  # fmt: skip


FULL = scores(100, 0, **dict.fromkeys(METRICS, (100, 100)))


def side(against: Any = "baseline", **new: np.ndarray) -> ComparisonSide:
    run = BASELINE if against == "baseline" else ANCHOR
    old = {
        "language": np.ones(100),
        "chrf": BEFORE,
        "exact_match": RIGHT,
        "judge": BEFORE / 100,
        "empty": np.zeros(100),
    }
    return ComparisonSide(
        against, run, {name: make_pairs(METRICS[name], old[name], values) for name, values in new.items()}
    )


def decide(of: Gate, stored_scores: Scores = FULL, **new: np.ndarray) -> Verdict:
    return decide_verdict(of, stored_scores, METRICS, [side(**new)])


def make_sample(values: np.ndarray) -> Sample:
    accumulator = Sample()
    accumulator.add(values[np.isfinite(values)])
    return accumulator


def test_the_first_run_is_accepted_and_says_so() -> None:
    verdict = decide_verdict(gate("chrf"), FULL, METRICS)
    assert (verdict.outcome, verdict.baseline, verdict.comparisons) == ("PASS", None, ())
    assert verdict.reason == "nothing to compare with yet: accepted as the first baseline"


def test_absolute_limits_hold_for_the_first_run_too() -> None:
    of = gate("chrf", limits={"empty": {"max": 0.1}})
    many = scores(1000, chrf=(1000, 1000), empty=(1000, 1000))
    outcomes = {}
    for k in (0, 90, 300):
        verdict = decide_verdict(of, many, METRICS, [], {"empty": make_sample((np.arange(1000) < k).astype(float))})
        outcomes[k] = (verdict.outcome, verdict.reason)
    assert outcomes[0] == (
        "PASS",
        "nothing to compare with yet: accepted as the first baseline; empty 0.000 [0.000, 0.006], at most 0.1",
    )
    assert outcomes[90][0] == "INCONCLUSIVE"
    assert "empty 0.090" in outcomes[90][1]
    assert "would decide" in outcomes[90][1]
    assert outcomes[300] == ("FAIL", "empty 0.300 [0.260, 0.342], at most 0.1")


def test_a_limit_on_equal_values_that_nothing_bounds_has_no_upper_end() -> None:
    """A checkpoint that gives one sentence for every image has such values."""
    measured = scores(words=(100, 100))
    for limit, outcome in ((1, "FAIL"), (1000, "INCONCLUSIVE")):
        of = gate(limits={"words": {"max": limit}})
        verdict = decide_verdict(of, measured, {"words": WORDS}, [], {"words": make_sample(np.full(100, 12.0))})
        assert verdict.outcome == outcome
        assert verdict.reason.startswith(f"words 12.000 [11.311, inf], at most {limit}")


LOST = NoBaseline("an upgrade took it", is_lost=True)


def test_a_baseline_lost_to_an_upgrade_is_no_pass() -> None:
    verdict = decide_verdict(gate("chrf"), FULL, METRICS, no_baseline=LOST)
    assert (verdict.outcome, verdict.reason) == ("INCONCLUSIVE", "an upgrade took it")


@pytest.mark.parametrize(("k", "outcome"), [(0, "INCONCLUSIVE"), (90, "INCONCLUSIVE"), (300, "FAIL")])
def test_limits_still_apply_where_the_baseline_is_lost(k: int, outcome: str) -> None:
    of = gate("chrf", limits={"empty": {"max": 0.1}})
    many = scores(1000, chrf=(1000, 1000), empty=(1000, 1000))
    values = {"empty": make_sample((np.arange(1000) < k).astype(float))}
    verdict = decide_verdict(of, many, METRICS, [], values, LOST)
    assert verdict.outcome == outcome
    assert ("an upgrade took it" in verdict.reason) == (outcome == "INCONCLUSIVE")
    assert ("empty 0.090" in verdict.reason) == (k == 90), "a limit that does not decide is told too"


def test_an_anchor_alone_does_not_make_up_for_a_lost_baseline() -> None:
    verdict = decide_verdict(gate("chrf"), FULL, METRICS, [side("anchor", chrf=SAME)], None, LOST)
    assert (verdict.outcome, verdict.reason) == ("INCONCLUSIVE", "an upgrade took it")
    worse = side("anchor", chrf=SAME - 5 + RANDOM.normal(0, 1, 100))
    assert decide_verdict(gate("chrf"), FULL, METRICS, [worse], None, LOST).outcome == "FAIL"


def test_missing_scores_come_before_a_lost_baseline() -> None:
    few = scores(chrf=(10, 100))
    assert decide_verdict(gate("chrf"), few, METRICS, no_baseline=LOST).outcome == "INCOMPLETE"


def test_what_a_person_changed_is_named_when_the_run_is_accepted() -> None:
    verdict = decide_verdict(gate("chrf"), FULL, METRICS, no_baseline=NoBaseline("accepted: the prompt changed"))
    assert (verdict.outcome, verdict.reason) == ("PASS", "accepted: the prompt changed")


def test_pass_fail_and_inconclusive() -> None:
    noise = RANDOM.normal(0, 1, 100)
    assert decide(gate("chrf"), chrf=SAME).outcome == "PASS"
    worse = decide(gate("chrf"), chrf=SAME - 5 + noise)
    comparison = worse.comparisons[0]
    assert worse.outcome == "FAIL"
    assert worse.reason == (
        f"chrf {-(comparison.difference or 0):.3f} worse [{comparison.low:+.3f}, {comparison.high:+.3f}], "
        "margin 1; against step-0800"
    )
    unclear = decide(gate("chrf"), chrf=SAME - 1 + noise)
    assert unclear.outcome == "INCONCLUSIVE"
    assert f"(100 images; about {unclear.comparisons[0].decisive_n} would decide)" in unclear.reason
    assert unclear.reason.endswith("against step-0800")
    assert worse.comparisons[0].decisive_n is None, "it is decided"


def test_on_the_margin_no_number_of_images_is_named() -> None:
    exact = decide(gate("exact_match", metrics={"exact_match": {"margin": 0}}), exact_match=RIGHT[::-1].copy())
    assert exact.outcome == "INCONCLUSIVE"
    assert exact.comparisons[0].difference == 0
    assert exact.reason.startswith("exact_match 0.000 different [")
    assert "(100 images; no number of them would decide)" in exact.reason


def test_the_worst_metric_decides() -> None:
    noise = RANDOM.normal(0, 1, 100)
    both = gate("chrf", "judge", metrics={"chrf": {"margin": 1}, "judge": {"margin": 0.01}})
    good, bad, unclear = SAME, SAME - 5 + noise, SAME - 1 + noise
    assert decide(both, chrf=good, judge=good / 100).outcome == "PASS"
    assert decide(both, chrf=good, judge=bad / 100).outcome == "FAIL"
    assert decide(both, chrf=unclear, judge=bad / 100).outcome == "FAIL"
    assert decide(both, chrf=good, judge=unclear / 100).outcome == "INCONCLUSIVE"


def test_both_baseline_and_anchor_can_fail_it_and_the_reason_says_which() -> None:
    bad = SAME - 5 + RANDOM.normal(0, 1, 100)
    fine, poor = side(chrf=SAME), side("anchor", chrf=bad)
    verdict = decide_verdict(gate("chrf"), FULL, METRICS, [fine, poor])
    assert (verdict.outcome, verdict.baseline, verdict.anchor) == ("FAIL", BASELINE, ANCHOR)
    assert verdict.reason.startswith("chrf ")
    assert verdict.reason.endswith("; against anchor step-0100")
    assert [(comparison.against, comparison.outcome) for comparison in verdict.comparisons] == [
        ("baseline", "PASS"),
        ("anchor", "FAIL"),
    ]
    both = decide_verdict(gate("chrf"), FULL, METRICS, [side(chrf=bad), poor]).reason
    assert both.count("chrf") == 2
    assert both.index("against step-0800; chrf") < both.index("against anchor step-0100")


def test_fail_is_corrected_for_the_family_and_pass_is_not() -> None:
    """p of FAIL lies between alpha / 4 and alpha: it fails alone, and not among four tests."""
    new = SAME - 1.3 + 1.0 * RANDOM.normal(0, 1, 100) * 1.2
    alone = decide(gate("chrf", alpha=0.05), chrf=new).comparisons[0]
    assert alone.p_worse is not None
    alpha = alone.p_worse * 2
    of = gate("chrf", alpha=alpha)
    assert decide(of, chrf=new).outcome == "FAIL"
    four = gate(alpha=alpha, metrics={"chrf": {"margin": 1.0}, "exact_match": {"margin": 0.1}})
    rest = {"exact_match": RIGHT}
    verdict = decide_verdict(four, FULL, METRICS, [side(chrf=new, **rest), side("anchor", chrf=SAME, **rest)])
    shared = verdict.comparisons[0]
    assert (shared.outcome, verdict.outcome) == ("INCONCLUSIVE", "INCONCLUSIVE")
    assert shared.p_holm == pytest.approx(4 * alone.p_worse)
    assert shared.decisive_n
    assert ", not after Holm's correction (100 images; about " in verdict.reason
    better = SAME + RANDOM.normal(0, 1, 100)
    passes = decide(of, chrf=better).comparisons[0]
    among = decide_verdict(four, FULL, METRICS, [side(chrf=better, **rest), side("anchor", chrf=better, **rest)])
    assert (passes.outcome, among.outcome) == ("PASS", "PASS")
    assert passes.p_margin == among.comparisons[0].p_margin


def test_limits_are_of_the_same_family() -> None:
    of = gate("chrf", limits={"empty": {"max": 0.1, "min": 0.0}})
    values = make_sample((np.arange(100) < 30).astype(float))
    verdict = decide_verdict(of, FULL, METRICS, [side(chrf=SAME)], {"empty": values})
    upper, lower = verdict.limits
    assert (upper.kind, upper.outcome, lower.kind, lower.outcome) == ("max", "FAIL", "min", "PASS")
    assert upper.p_holm == pytest.approx(3 * (upper.p_worse or 0))
    assert verdict.reason == "empty 0.300 [0.182, 0.441], at most 0.1"


def test_what_is_not_gated_is_advice() -> None:
    bad = SAME / 100 - 0.2 + RANDOM.normal(0, 0.01, 100)
    verdict = decide(gate("chrf"), chrf=SAME, judge=bad)
    assert verdict.outcome == "PASS"
    advice = verdict.comparisons[1]
    assert (advice.metric, advice.advisory, advice.outcome, advice.p_holm) == ("judge", True, "FAIL", None)
    assert "judge" not in verdict.reason


@pytest.mark.parametrize(
    ("stored_scores", "reason"),
    [
        (scores(no_caption=2, chrf=(98, 98)), "only 98 of 100 images have a caption, 99.0% are needed"),
        (scores(chrf=(98, 100)), "chrf is missing on 2 of 100 images"),
        (scores(chrf=(0, 0)), "chrf has no value on any image: the data set gives it nothing to measure"),
        (scores(images=0, chrf=(0, 0)), "only 0 of 0 images have a caption, 99.0% are needed"),
    ],
)
def test_too_much_missing_comes_before_every_other_verdict(stored_scores: Scores, reason: str) -> None:
    for new in (SAME, SAME - 40):
        verdict = decide(gate("chrf"), stored_scores, chrf=new)
        assert verdict.outcome == "INCOMPLETE"
        assert verdict.reason.startswith(reason)
        assert {comparison.outcome for comparison in verdict.comparisons} == {"INCOMPLETE"}
    assert decide_verdict(gate("chrf"), stored_scores, METRICS).outcome == "INCOMPLETE"


def test_incomplete_says_what_the_missing_images_could_change() -> None:
    new = RIGHT.copy()
    new[:10] = math.nan
    verdict = decide(gate("exact_match"), scores(exact_match=(90, 100)), exact_match=new)
    low, high = -RIGHT[:10].sum() / 100, (10 - RIGHT[:10].sum()) / 100
    assert verdict.reason == (
        "exact_match is missing on 10 of 100 images; whatever is missing, its difference lies within "
        f"[{low:+.3f}, {high:+.3f}] to the baseline"
    )


def test_what_is_missing_within_the_coverage_is_left_out_unless_it_could_turn_the_outcome() -> None:
    new = SAME.copy()
    new[0] = math.nan
    stored_scores = scores(chrf=(99, 100))
    loose, tight = gate("chrf"), gate(metrics={"chrf": {"margin": 0.1}})
    verdict = decide(loose, stored_scores, chrf=new)
    assert (verdict.outcome, verdict.comparisons[0].n) == ("PASS", 99)
    assert "turn" not in verdict.reason
    assert "though what is missing could turn it" in decide(tight, stored_scores, chrf=new).reason


def test_a_baseline_that_shares_too_few_images_decides_nothing() -> None:
    few = np.where(np.arange(100) < 50, SAME - 30, np.nan)
    verdict = decide(gate("chrf"), chrf=few)
    assert verdict.outcome == "INCOMPLETE"
    assert verdict.reason.startswith("chrf: only 50 images have a value in both runs; whatever is missing, ")


def test_a_limit_on_what_was_not_measured_decides_nothing() -> None:
    of = gate(limits={"judge": {"min": 0.5}})
    half = decide_verdict(of, scores(judge=(50, 100)), METRICS, [], {"judge": make_sample(np.full(50, 0.9))})
    assert (half.outcome, half.reason) == ("INCOMPLETE", "judge is missing on 50 of 100 images")
    assert half.limits[0].outcome == "INCOMPLETE"


def test_a_suite_that_gates_on_nothing_passes_and_says_so() -> None:
    assert decide(gate()).reason == "the suite gates on no metric; against step-0800"


def test_too_skewed_to_be_called_worse_is_reported() -> None:
    new = SAME / 100 - 0.1 + np.where(np.arange(100) < 3, 0.3, RANDOM.normal(0, 0.001, 100))
    verdict = decide(gate(metrics={"judge": {"margin": 0.01}}), judge=new)
    assert verdict.outcome == "INCONCLUSIVE"
    assert ", too skewed to be called worse (100 images; about " in verdict.reason
    assert (verdict.comparisons[0].decisive_n or 0) > 1000


def test_few_clusters_are_named_in_the_reason() -> None:
    few = make_pairs(CHRF, SAME, SAME - 5 + RANDOM.normal(0, 1, 100), [f"label-{index % 4}" for index in range(100)])
    verdict = decide_verdict(gate("chrf"), FULL, METRICS, [ComparisonSide("baseline", BASELINE, {"chrf": few})])
    assert verdict.outcome == "INCONCLUSIVE"
    assert verdict.reason == "chrf: only 4 clusters, 10 are needed; against step-0800"


def test_the_whole_verdict_falsely_fails_at_most_at_alpha() -> None:
    """Two sides of two metrics, each exactly at its margin, which is the worst acceptable case."""
    random = np.random.default_rng(11)
    alpha, runs, fails = 0.05, 200, 0
    of = gate(alpha=alpha, metrics={"chrf": {"margin": 1}, "judge": {"margin": 0.01}})
    for _ in range(runs):
        sides = [
            side(against, chrf=SAME + random.normal(-1, 1, 100), judge=SAME / 100 + random.normal(-0.01, 0.01, 100))
            for against in ("baseline", "anchor")
        ]
        fails += decide_verdict(of, FULL, METRICS, sides).outcome == "FAIL"
    assert 0 < fails / runs < alpha + 4 * math.sqrt(alpha * (1 - alpha) / runs)


@pytest.mark.parametrize("against", ["baseline", "anchor"])
def test_captions_too_short_to_tell_their_language_hide_no_fail(against: Any) -> None:
    """All captions are "a dog": their language is unknown, and chrF, which is worse, still FAILs."""
    of = gate("language", "chrf", limits={"language": {"min": 0.9}})
    none = scores(chrf=(100, 100), empty=(100, 100), language=(0, 0))
    short, empty = np.full(100, np.nan), np.zeros(100)
    new = {"language": short, "chrf": BEFORE - 30 + RANDOM.normal(0, 1, 100), "empty": empty}
    verdict = decide_verdict(of, none, METRICS, [side(against, **new)], {"language": make_sample(short)})
    assert verdict.outcome == "FAIL"
    same = decide_verdict(of, none, METRICS, [side(against, **new | {"chrf": SAME})], {"language": make_sample(short)})
    assert same.outcome == "INCONCLUSIVE"
    assert "language" in same.reason
    few = np.where(np.arange(100) < 40, 1.0, np.nan)
    stored_scores = scores(chrf=(100, 100), empty=(100, 100), language=(40, 40))
    verdict = decide_verdict(
        of, stored_scores, METRICS, [side(against, **new | {"language": few})], {"language": make_sample(few)}
    )
    assert verdict.outcome == "FAIL"


def test_captions_that_are_missing_count_for_such_a_metric_too() -> None:
    few = np.where(np.arange(100) < 40, 1.0, np.nan)
    of, stored_scores = gate("language"), scores(empty=(100, 100), language=(100, 100))
    verdict = decide_verdict(
        of, stored_scores, METRICS, [side(language=few, empty=few)]
    )  # here and there one run has no caption
    assert verdict.outcome == "INCOMPLETE"
    assert verdict.reason.startswith("language: only 40 images have a value in both runs")
    complete_scores = scores(no_caption=0, language=(60, 100))
    assert decide_verdict(of, complete_scores, METRICS, [side(language=few, empty=few)]).outcome == "INCOMPLETE"
