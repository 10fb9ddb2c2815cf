from dataclasses import astuple, replace
from functools import reduce

import pytest
from samples import make_suite

from ray_jobs.judge.answer_store import Answer
from ray_jobs.judge.totals import JudgeTotals, compute_totals, dump_totals

JUDGE = make_suite(judge__kind="vllm", judge__model="/m", judge__price={"input": 3.0, "output": 15.0}).judge


def make_answer(failure: str | None = None, run: str = "ours") -> Answer:
    return Answer("k", "text", failure, None, 1000, 100, run, 1.0)


def test_every_question_is_answered_or_failed_with_a_reason() -> None:
    totals = compute_totals(
        [make_answer(), make_answer("timeout"), None, make_answer("timeout", "theirs"), make_answer(run="theirs")],
        "ours",
        JUDGE,
    )
    assert (totals.questions, totals.answered, totals.failed) == (5, 2, {"judge-silent": 1, "judge-timeout": 2})
    assert totals.questions == totals.answered + sum(totals.failed.values())
    assert totals.cached == 2
    assert astuple(totals.total_usage) == pytest.approx((4, 4000, 400, 4000 * 3e-6 + 400 * 15e-6))
    assert astuple(totals.run_usage) == pytest.approx((2, 2000, 200, 2000 * 3e-6 + 200 * 15e-6))


def test_parts_add_up_in_any_grouping() -> None:
    answers = [make_answer(), None, make_answer("refusal", "theirs"), make_answer(run="theirs"), make_answer("refusal")]
    totals = compute_totals(answers, "ours", JUDGE)
    total_of_singles = reduce(
        JudgeTotals.plus, [compute_totals([answer], "ours", JUDGE) for answer in answers], JudgeTotals(seconds=2.0)
    )
    assert total_of_singles.failed == totals.failed
    assert (total_of_singles.questions, total_of_singles.answered, total_of_singles.cached) == (
        totals.questions,
        totals.answered,
        totals.cached,
    )
    assert total_of_singles.total_usage.cost == pytest.approx(totals.total_usage.cost)
    assert total_of_singles.seconds == 2.0


def test_the_models_are_named_and_not_without_end() -> None:
    answers = [replace(make_answer(), served_by=f"m-{number:02d}") for number in range(30)]
    assert compute_totals([make_answer(), *answers[:2], answers[0]], "ours", JUDGE).served_by == ("m-00", "m-01")
    assert compute_totals([replace(make_answer("timeout"), served_by="m")], "ours", JUDGE).served_by == ()
    served_by = compute_totals(answers, "ours", JUDGE).served_by
    assert len(served_by) == 20
    assert (
        compute_totals(answers[15:], "ours", JUDGE).plus(compute_totals(answers[:15], "ours", JUDGE)).served_by
        == served_by
    )


def test_nothing_is_nothing() -> None:
    assert compute_totals([], "ours", JUDGE) == JudgeTotals()


def test_the_file_keeps_the_keys_of_earlier_versions() -> None:
    content = dump_totals(compute_totals([make_answer(), make_answer(run="theirs")], "ours", JUDGE))
    assert list(content) == [
        "questions", "answered", "cached", "failed", "spent", "asked", "seconds", "served_by",
    ]  # fmt: skip
    assert (content["spent"]["questions"], content["asked"]["questions"]) == (2, 1)
