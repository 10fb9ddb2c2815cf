"""The first sentences of the report: counts of pairs, and a cause only where the counts show it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from judged_run import make_judged_run
from report_case import make_comparison

from ray_jobs.contract.artifacts import Summary
from ray_jobs.report.headline import explain_change, sign_intervals
from ray_jobs.report.image_kinds import ImageKinds, RankedImage
from ray_jobs.report.rank_images import PairCounts, ScanResult


def make_summary(unit: str = "share of captions", direction: int = 1) -> Summary:
    nothing = dict.fromkeys(("mean", "standard_error", "low", "high"))
    return Summary(n=10, expected=10, unit=unit, direction=direction, **nothing)


def make_scan(changes: dict[str, list[int]], sign: int = -1, **pairs: tuple[int, int, int]) -> ScanResult:
    """A scan whose changed images changed in these criteria, and with these (images, worse, better)."""
    scan = ScanResult({}, {}, ImageKinds(-1, list(changes)), ImageKinds(1, list(changes)))
    columns = np.array(list(changes.values())) if changes else np.zeros((0, 1))
    kinds = scan.worse_kinds if sign < 0 else scan.better_kinds
    kinds.add(lambda column: RankedImage(float(sign), 0.0, str(column), "part-00000"), columns)
    scan.pairs = {metric: PairCounts(*counts) for metric, counts in pairs.items()}
    return scan


def explain(scan: ScanResult, metric: str = "exact_match", outcome: str = "FAIL", **fields: Any) -> tuple[str, str]:
    pairs = scan.pairs[metric]
    difference = fields.pop("difference", (pairs.better - pairs.worse) / pairs.images)
    comparison = make_comparison(metric, difference, n=pairs.images, outcome=outcome, **fields)
    summaries = {name: make_summary() for name in scan.pairs} | {
        "chrf": make_summary("chrF2"), "empty": make_summary(direction=-1), "truncated": make_summary(direction=-1)
    }  # fmt: skip
    explanation = explain_change([comparison], outcome, summaries, scan, metric)
    assert explanation
    return explanation.sentence, explanation.detail


def test_the_count_and_the_criterion_that_moved_most() -> None:
    scan = make_scan(
        {"judge_background": [-1, -1, -1, 0], "judge_colour": [0, 0, 0, -1]},
        exact_match=(256, 4, 1), judge_background=(274, 5, 1), judge_colour=(274, 1, 0),
    )  # fmt: skip
    assert explain(scan) == (
        "3 fewer of 256 captions are exact; the background is wrong in 4 more.",
        "Of 256 captions, 4 got worse and 1 got better. "
        "Of the 4, wrong now and not before: background in 3, colour in 1.",
    )


def test_an_improvement_is_told_the_same_way() -> None:
    scan = make_scan({"judge_shape": [1, 1, 1]}, 1, exact_match=(50, 0, 3), judge_shape=(60, 1, 3))
    sentence, detail = explain(scan, outcome="PASS")
    assert sentence == "3 more of 50 captions are exact; the shape is right in 2 more."
    assert detail.endswith("Of the 3, right now and not before: shape in 3.")


@pytest.mark.parametrize(
    ("changes", "pairs"),
    [
        ([-1, 0, 0, 0, 0, 0, 0, 0, 0], (90, 1, 0)),  # in one image
        ([-1, -1, 0, 0, 0, 0, 0, 0, 0], (90, 2, 0)),  # in less than a quarter of the images
        ([-1, -1, -1, -1, -1, -1, -1, -1, -1], (90, 9, 9)),  # as many got better elsewhere
    ],
)
def test_no_cause_is_named_where_the_counts_show_none(changes: list[int], pairs: tuple[int, int, int]) -> None:
    scan = make_scan({"judge_background": changes}, exact_match=(90, 9, 0), judge_background=pairs)
    assert explain(scan)[0] == "9 fewer of 90 captions are exact."


def test_criteria_that_moved_alike_are_named_together() -> None:
    scan = make_scan(
        {"judge_a": [-1, -1, 0, 0], "judge_b": [0, 0, -1, -1]},
        exact_match=(9, 4, 0), judge_a=(9, 2, 0), judge_b=(9, 3, 0),
    )  # fmt: skip
    assert explain(scan)[0] == "4 fewer of 9 captions are exact; a and b are each wrong in at least 2 more."


def test_five_criteria_that_moved_alike_are_no_cause() -> None:
    letters = {f"judge_{letter}": [-1, -1, -1] for letter in "abcde"}
    scan = make_scan(letters, exact_match=(9, 3, 0))
    scan.pairs |= {letter: PairCounts(9, 3) for letter in letters}
    assert explain(scan)[0] == "3 fewer of 9 captions are exact."


def test_metrics_have_words_of_their_own() -> None:
    scan = make_scan({"truncated": [-1, -1, -1]}, empty=(100, 3, 0), truncated=(100, 3, 0))
    assert explain(scan, "empty")[0] == "3 more of 100 captions are empty; 3 more are cut off."
    scan = make_scan({}, field_count=(100, 1, 0))
    assert explain(scan, "field_count")[0] == "1 fewer of 100 captions has field_count."
    scan = make_scan({}, exact_match=(100, 2, 2))
    assert explain(scan)[0] == "as many of 100 captions are exact as before."


def test_values_between_0_and_1_are_not_counted_as_yes_or_no() -> None:
    scan = make_scan({}, kindness=(100, 60, 10))
    sentence, _ = explain(scan, "kindness", difference=-0.25, baseline=0.75, candidate=0.5)
    assert sentence == "kindness is 0.250 worse on average: worse in 60 of 100 captions, better in 10."


def test_a_mean_is_told_with_its_counts() -> None:
    scan = make_scan({}, chrf=(100, 60, 10))
    assert explain(scan, "chrf", difference=-2.0)[0] == (
        "chrf is 2.00 worse on average: worse in 60 of 100 captions, better in 10."
    )


def test_without_pairs_nothing_is_said() -> None:
    comparison = make_comparison("exact_match")
    assert explain_change([comparison], "FAIL", {}, make_scan({}), "exact_match") is None
    against_anchor = make_comparison("exact_match", against="anchor")
    scan = make_scan({}, exact_match=(10, 1, 0))
    assert explain_change([against_anchor], "FAIL", {}, scan, "exact_match") is None
    assert explain_change([comparison], "INCOMPLETE", {}, scan, "exact_match") is None


def test_an_interval_has_the_sign_of_the_number_beside_it() -> None:
    comparisons = [make_comparison("exact_match", -0.211, low=-0.294, high=-0.145), make_comparison("chrf", 1.0)]
    reason = "exact_match 0.211 worse [-0.294, -0.145], margin 0.05; chrf 1.000 better [+0.100, +2.000], margin 1"
    assert sign_intervals(reason, comparisons) == reason.replace("[-0.294, -0.145]", "[+0.145, +0.294]")


def test_the_page_begins_with_it(tmp_path: Path) -> None:
    case = make_judged_run(tmp_path)
    assert "FAIL 12 fewer of 30 captions are exact; the background is wrong in 10 more." in case.text
    assert (
        "Of the 13, wrong now and not before: background in 11, colour in 3, shape in 2. exact_match 0.400 worse "
        "[+0.200, +0.600], margin 0.05; against step-1"
    ) in case.text
