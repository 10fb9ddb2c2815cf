from pathlib import Path

import pytest
from corpus_tables import corpus_of_captions
from hypothesis import given
from hypothesis import strategies as st

from ray_jobs.metrics import CaptionContext
from ray_jobs.metrics.builtin import collapse, distinct_2
from ray_jobs.metrics.text.batch import Batch

WORDS = st.lists(st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=6).map(" ".join), min_size=1, max_size=8)


def batch(texts: list[str]) -> Batch:
    return Batch([CaptionContext(text, 5, "stop") for text in texts], corpus_of_captions(texts))


@given(WORDS)
def test_weighted_by_bigrams_it_is_distinct_2_of_all_captions(texts: list[str]) -> None:
    values = distinct_2.measure_all(batch(texts))
    pairs = [list(zip(text.split(), text.split()[1:], strict=False)) for text in texts]
    assert [value is None for value in values] == [not bigrams for bigrams in pairs]
    every = [pair for bigrams in pairs for pair in bigrams]
    weighed = sum(value * len(bigrams) for value, bigrams in zip(values, pairs, strict=True) if value is not None)
    assert weighed == pytest.approx(len(set(every)))


def test_distinct_2_by_hand() -> None:
    """The bigram ab three times, bc once, cd once."""
    assert distinct_2.measure_all(batch(["a b c", "A b!", "a, b", "c d", "x"])) == [
        pytest.approx((1 / 3 + 1) / 2), pytest.approx(1 / 3), pytest.approx(1 / 3), 1, None
    ]  # fmt: skip


def test_a_bigram_twice_in_one_caption_counts_twice() -> None:
    assert distinct_2.measure_all(batch(["a b a b"])) == [pytest.approx((1 / 2 + 1 + 1 / 2) / 3)]


def test_collapse_is_the_share_of_the_other_captions_that_say_the_same() -> None:
    texts = ["A red dot.", "a red dot", "a  RED dot!", "a dot red", "", " . "]
    assert collapse.measure_all(batch(texts)) == pytest.approx([2 / 5, 2 / 5, 2 / 5, 0, 1 / 5, 1 / 5])


def test_collapse_of_all_and_of_one(tmp_path: Path) -> None:
    assert collapse.measure_all(batch(["the same"] * 4)) == [1, 1, 1, 1]
    assert collapse.measure_all(batch(["alone"])) == [None]
    assert collapse.measure_all(batch([])) == []
