"""The metrics that count things in one caption."""

import pytest

from ray_jobs.metrics import CaptionContext
from ray_jobs.metrics.registry import BUILT_IN


def value(metric: str, text: str, tokens: int = 5, finish_reason: str = "stop", *references: str) -> float | None:
    measure = BUILT_IN[metric].measure
    assert measure
    return measure(CaptionContext(text, tokens, finish_reason, references))


@pytest.mark.parametrize(
    ("metric", "text", "expected"),
    [
        ("characters", "  a red dot \n", 9),
        ("characters", "", 0),
        ("characters", "é日", 2),
        ("words", " a  red\tdot\n", 3),
        ("words", "", 0),
        ("tokens", "anything", 5),
        ("empty", "", 1),
        ("empty", " \n\t", 1),
        ("empty", ".", 0),
        ("repetition", "", 0),
        ("repetition", "a b c", 0),
        ("repetition", "a b c d", 0),
        ("repetition", "a a a a a", 0.5),  # two 4-grams, one of them again
        ("repetition", "a b c d a b c d", 0.2),  # five, abcd twice
        ("repetition", " ".join(["x"] * 103), 0.99),
    ],
)
def test_by_hand(metric: str, text: str, expected: float) -> None:
    assert value(metric, text) == pytest.approx(expected)


def test_truncated_is_what_the_engine_cut() -> None:
    assert value("truncated", "a red", 5, "length") == 1
    assert value("truncated", "a red dot", 5, "stop") == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [("A red dot", 1), ("a  RED dot.", 1), ("a red dot .", 1), ("a red dots", 0), ("", 0), ("second", 1)],
)
def test_exact_match(text: str, expected: float) -> None:
    assert value("exact_match", text, 5, "stop", "a red dot", "Second.") == expected
