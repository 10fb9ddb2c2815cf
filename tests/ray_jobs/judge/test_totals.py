from dataclasses import astuple, replace
from functools import reduce

import pytest
from samples import make_suite

from ray_jobs.judge.answer_store import Answer
from ray_jobs.judge.totals import JudgeTotals, compute_totals, dump_totals

JUDGE = make_suite(judge__kind="vllm", judge__model="/m", judge__price={"input": 3.0, "output": 15.0}).judge


def given(failure: str | None = None, run: str = "ours") -> Answer:
    return Answer("k", "text", failure, None, 1000, 100, run, 1.0)


def test_every_question_is_answered_or_failed_with_a_reason() -> None:
    found = compute_totals(
        [given(), given("timeout"), None, given("timeout", "theirs"), given(run="theirs")], "ours", JUDGE
    )
    assert (found.questions, found.answered, found.failed) == (5, 2, {"judge-silent": 1, "judge-timeout": 2})
    assert found.questions == found.answered + sum(found.failed.values())
    assert found.cached == 2
    assert astuple(found.total_usage) == pytest.approx((4, 4000, 400, 4000 * 3e-6 + 400 * 15e-6))
    assert astuple(found.run_usage) == pytest.approx((2, 2000, 200, 2000 * 3e-6 + 200 * 15e-6))


def test_parts_add_up_in_any_grouping() -> None:
    some = [given(), None, given("refusal", "theirs"), given(run="theirs"), given("refusal")]
    whole = compute_totals(some, "ours", JUDGE)
    summed = reduce(JudgeTotals.plus, [compute_totals([one], "ours", JUDGE) for one in some], JudgeTotals(seconds=2.0))
    assert summed.failed == whole.failed
    assert (summed.questions, summed.answered, summed.cached) == (whole.questions, whole.answered, whole.cached)
    assert summed.total_usage.cost == pytest.approx(whole.total_usage.cost)
    assert summed.seconds == 2.0


def test_the_models_are_named_and_not_without_end() -> None:
    some = [replace(given(), served_by=f"m-{number:02d}") for number in range(30)]
    assert compute_totals([given(), *some[:2], some[0]], "ours", JUDGE).served_by == ("m-00", "m-01")
    assert compute_totals([replace(given("timeout"), served_by="m")], "ours", JUDGE).served_by == ()
    whole = compute_totals(some, "ours", JUDGE).served_by
    assert len(whole) == 20
    assert compute_totals(some[15:], "ours", JUDGE).plus(compute_totals(some[:15], "ours", JUDGE)).served_by == whole


def test_nothing_is_nothing() -> None:
    assert compute_totals([], "ours", JUDGE) == JudgeTotals()


def test_the_file_keeps_the_keys_of_earlier_versions() -> None:
    content = dump_totals(compute_totals([given(), given(run="theirs")], "ours", JUDGE))
    assert list(content) == [
        "questions", "answered", "cached", "failed", "spent", "asked", "seconds", "served_by",
    ]  # fmt: skip
    assert (content["spent"]["questions"], content["asked"]["questions"]) == (2, 1)
