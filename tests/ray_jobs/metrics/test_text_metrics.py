import pytest

from ray_jobs.contract import METRICS
from ray_jobs.metrics import Captioned, registry


def value(metric: str, text: str, tokens: int = 5, finish_reason: str = "stop", *references: str) -> float | None:
    return registry()[metric](Captioned(text, tokens, finish_reason, references))


def test_every_declared_metric_exists_in_the_declared_order() -> None:
    assert list(registry()) == list(METRICS)


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


def test_chrf() -> None:
    assert value("chrf", "a red dot", 5, "stop", "a red dot") == pytest.approx(100)
    assert value("chrf", "xyz", 5, "stop", "a red dot") == pytest.approx(0)
    # "ab" against "abc": precision 2/2, 1/1; recall 2/3, 1/2; no longer n-grams. F2 of each order, averaged by hand.
    precision, recall = (1 + 1) / 2, (2 / 3 + 1 / 2) / 2
    by_hand = 100 * 5 * precision * recall / (4 * precision + recall)
    assert value("chrf", "ab", 5, "stop", "abc") == pytest.approx(by_hand, rel=0.01)
    closest = value("chrf", "a red dot", 5, "stop", "something else", "a red dot")
    assert closest == pytest.approx(100)


@pytest.mark.parametrize("metric", ["exact_match", "chrf"])
def test_without_references_there_is_nothing_to_measure(metric: str) -> None:
    assert value(metric, "a red dot") is None
