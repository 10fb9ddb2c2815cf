import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ray_jobs.metrics.text.ngrams import number_ngrams, number_texts
from ray_jobs.metrics.text.tokenise import number_terms

TEXTS = st.lists(st.lists(st.sampled_from(["a", "b", "c"]), max_size=7).map(" ".join), max_size=6)


@given(TEXTS, st.integers(1, 4))
def test_they_are_those_of_each_text_and_equal_where_the_words_are(texts: list[str], order: int) -> None:
    hashes, text = number_ngrams(*number_terms(texts), order)
    expected = [
        (tuple(words[start : start + order]), number)
        for number, words in enumerate(caption.split() for caption in texts)
        for start in range(len(words) - order + 1)
    ]
    assert text.tolist() == [number for _, number in expected]
    by_words = dict(zip([words for words, _ in expected], hashes.tolist(), strict=True))
    assert [by_words[words] for words, _ in expected] == hashes.tolist()
    assert len(set(by_words.values())) == len(by_words)


def test_orders_do_not_meet() -> None:
    terms = number_terms(["a a a a a a"])
    counts = [number_ngrams(*terms, order)[0].tolist() for order in range(1, 5)]
    assert len({number for numbers_of in counts for number in numbers_of}) == 4


@given(TEXTS)
def test_a_text_has_the_number_of_its_words_in_their_order(texts: list[str]) -> None:
    hashes = number_texts(*number_terms(texts)).tolist()
    assert len(set(hashes)) == len({tuple(text.split()) for text in texts})
    assert [number for text in texts for number in number_texts(*number_terms([text])).tolist()] == hashes


def test_the_hash_of_a_text_depends_on_word_order() -> None:
    assert len(set(number_texts(*number_terms(["a b", "b a", "a a b", "a b b", "", "a"])).tolist())) == 6


def test_they_spread_over_the_ranges() -> None:
    hashes, _ = number_ngrams(*number_terms([" ".join(f"w{number}" for number in range(20_000))]), 2)
    counts = np.bincount((hashes >> np.uint64(60)).astype(int), minlength=16)
    assert counts.min() > 20_000 / 16 * 0.85
    assert counts.max() < 20_000 / 16 * 1.15
