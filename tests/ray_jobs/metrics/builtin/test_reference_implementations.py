"""BLEU-4, ROUGE-L, CIDEr-D and chrF equal their reference implementations on any text."""

import math
import random
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocoevalcap.bleu.bleu_scorer import BleuScorer
from pycocoevalcap.cider.cider_scorer import CiderScorer
from pycocoevalcap.rouge.rouge import Rouge
from sacrebleu.metrics import CHRF

from ray_jobs.metrics import CaptionContext
from ray_jobs.metrics.registry import BUILT_IN
from ray_jobs.metrics.text import frequencies
from ray_jobs.metrics.text.batch import Batch, CorpusStats
from ray_jobs.metrics.text.corpus_counts import _list_reference_ngrams
from ray_jobs.metrics.text.frequencies import Frequencies
from ray_jobs.metrics.text.tokenise import split_terms
from ray_jobs.storage import parts

CLOSE = 1e-6
NO_CORPUS = CorpusStats()
Case = tuple[str, list[str]]

SHARED: list[Case] = [
    ("A man riding a wave on top of a surfboard.", ["A man on a surfboard riding a wave.", "a surfer in the water",
     "Man surfing on a large wave in the ocean.", "A person rides a wave on a surfboard", "The man surfs a wave."]),
    ("two dogs playing in the snow", ["Two dogs play in the snow.", "dogs in snow"]),
    ("a cat", ["a cat sits on a mat", "a black cat on the mat", "the cat"]),
    ("a red bus on a street on a street on a street", ["a red bus on a street", "the bus drives down the street"]),
    ("the the the the the", ["the cat is on the mat", "there is a cat on the mat"]),
    ("nothing in common here", ["completely different words", "and again other ones"]),
    ("A man riding a wave on top of a surfboard.", ["A man riding a wave on top of a surfboard."]),
    ("a kitchen with a stove, a sink and an oven.", ["A kitchen that has a stove and a sink in it", "an oven",
     "A very clean kitchen with an oven", "a kitchen with a stove", "the sink isn't full", "a seventh", "an eighth"]),
]  # fmt: skip
ADVERSARIAL: list[Case] = [
    ("", ["a dog runs", "two dogs"]),
    ("a dog runs", ["", "two dogs"]),
    ("", [""]),
    ("", ["", "word"]),
    (" \t\n ", ["  \n", "a"]),
    ("...", ["!!!", ", ; :"]),
    ("dog", ["dog"]),
    ("dog", ["a dog", "cat"]),
    ("🙂🙂👍🏽 👩‍👩‍👧 🙂", ["🙂 👍🏽", "a smile 🙂🙂"]),
    ("狗在草地上跑", ["一只狗在草地上奔跑", "狗跑在草地上。", "a dog 狗"]),
    ("犬が草の上を走る", ["草の上を犬が走っている", "犬"]),
    ("강아지가 잔디 위를 달린다", ["잔디 위를 달리는 강아지"]),
    ("\x00\x01\x07 a\x00b \x1b[31mred\x1b[0m", ["a\x00b red", "\x01"]),
    ("word " * 4000, ["word " * 3999, "a word"]),
    (" ".join(f"w{number % 997}" for number in range(4000)), [" ".join(f"w{number % 991}" for number in range(4000))]),
    ("x" * 4000, ["x" * 3999 + "y", "x"]),
    ("".join(chr(0x4E00 + number) for number in range(3000)), ["".join(chr(0x4E00 + 2 * n) for n in range(1500))]),
    ("\ud800 lone \udfff", ["\ud800 surrogate", "lone \udfff"]),
    ("e\u0301 cafe\u0301 ﬀ Ǆ İ ß", ["é café ff dž i ss", "E\u0301"]),
    ("\u202ethgir ot tfel\u202c <script>alert(1)</script>", ["left to right", "<script>"]),
    ("a\u00a0b\u2003c\u3000d", ["a b c d", "a\u2028b"]),
]


def corpus_of(cases: list[Case], folder: Path) -> CorpusStats:
    """Document frequencies by the code that computes those of a golden set."""
    texts = [[text.encode("utf-8", "replace").decode() for text in references] for _, references in cases]
    parts.write(str(folder), "part-00000", pa.table({"references": texts}), {})
    total, grams = _list_reference_ngrams("part-00000", str(folder))["ngrams"]
    return CorpusStats(
        documents=Frequencies(total, (frequencies.sum_counts([frequencies.count_numbers(grams)], least=2),))
    )


def ours(metric: str, cases: list[Case], corpus: CorpusStats = NO_CORPUS) -> list[float]:
    measure = BUILT_IN[metric].measure_all
    assert measure
    scores = measure(Batch([CaptionContext(text, 5, "stop", tuple(references)) for text, references in cases], corpus))
    assert all(value is not None and math.isfinite(value) for value in scores)
    return [value for value in scores if value is not None]


def join_terms(text: str) -> str:
    return " ".join(split_terms(text))


def bleu(cases: list[Case]) -> list[float]:
    scorer = BleuScorer(n=4)
    for text, references in cases:
        scorer += (join_terms(text), [join_terms(reference) for reference in references])
    return list(scorer.compute_score(option="closest")[1][3])


def rouge(cases: list[Case]) -> list[float]:
    return [
        Rouge().calc_score([join_terms(text)], [join_terms(reference) for reference in references])
        for text, references in cases
    ]


def cider(cases: list[Case]) -> list[float]:
    scorer = CiderScorer(n=4, sigma=6.0)
    for text, references in cases:
        scorer += (join_terms(text), [join_terms(reference) for reference in references])
    return [float(value) for value in scorer.compute_score()[1]]


def test_bleu4() -> None:
    cases = SHARED + ADVERSARIAL
    assert ours("bleu4", cases) == pytest.approx(bleu(cases), abs=CLOSE)
    assert ours("bleu4", SHARED)[6] > 0.999


def test_rouge_l() -> None:
    cases = [case for case in SHARED + ADVERSARIAL if len(case[0]) * len(case[1][0]) < 1e6]  # the reference's is slow
    assert ours("rouge_l", cases) == pytest.approx(rouge(cases), abs=CLOSE)


def test_rouge_l_of_long_texts() -> None:
    """The reference takes minutes. By hand: 3999 of 4000 words in common, and 3999 of 3999."""
    (score,) = ours("rouge_l", [("word " * 4000, ["word " * 3999])])
    precision, recall = 3999 / 4000, 1
    assert score == pytest.approx((1 + 1.44) * precision * recall / (recall + 1.44 * precision), abs=CLOSE)


def test_cider_d(tmp_path: Path) -> None:
    cases = [case for case in SHARED + ADVERSARIAL if "\ud800" not in case[0]]  # no Parquet file holds a lone surrogate
    scores = ours("cider_d", cases, corpus_of(cases, tmp_path))
    assert scores == pytest.approx(cider(cases), abs=CLOSE)
    assert max(scores) <= 10


@pytest.mark.parametrize(
    "cases", [SHARED[:1], SHARED[:2], [SHARED[0]] * 3], ids=["one image", "two", "the same thrice"]
)
def test_cider_d_of_few_images(cases: list[Case], tmp_path: Path) -> None:
    """With one image, or the same references everywhere, every n-gram is in all documents and weighs nothing."""
    assert ours("cider_d", cases, corpus_of(cases, tmp_path)) == pytest.approx(cider(cases), abs=CLOSE)


def test_chrf() -> None:
    cases = SHARED + ADVERSARIAL
    expected = [CHRF().sentence_score(text, references).score for text, references in cases]
    assert ours("chrf", cases) == pytest.approx(expected, abs=CLOSE)


def test_a_value_does_not_depend_on_what_else_is_in_the_batch(tmp_path: Path) -> None:
    cases = (SHARED + ADVERSARIAL) * 3
    random.Random(1).shuffle(cases)
    corpus = corpus_of(SHARED, tmp_path)
    for metric in ("bleu4", "rouge_l", "cider_d", "chrf"):
        alone = [ours(metric, [case], corpus)[0] for case in cases]
        assert ours(metric, cases, corpus) == pytest.approx(alone, abs=1e-12)


TEXT = st.text(st.sampled_from("ab .'-狗🙂\n\x00"), max_size=30) | st.text(max_size=20)
CASES = st.lists(st.tuples(TEXT, st.lists(TEXT, min_size=1, max_size=4)), min_size=1, max_size=5)


@settings(max_examples=150, deadline=None)
@given(CASES)
def test_on_any_text(cases: list[Case]) -> None:
    assert ours("bleu4", cases) == pytest.approx(bleu(cases), abs=CLOSE)
    assert ours("rouge_l", cases) == pytest.approx(rouge(cases), abs=CLOSE)
    expected = [CHRF().sentence_score(text, references).score for text, references in cases]
    assert ours("chrf", cases) == pytest.approx(expected, abs=CLOSE)


@pytest.mark.parametrize("metric", ["exact_match", "bleu4", "rouge_l", "cider_d", "chrf"])
def test_without_references_there_is_nothing_to_measure(metric: str) -> None:
    has, lacks = CaptionContext("a dot", 3, "stop", ("a dot",)), CaptionContext("a dot", 3, "stop")
    declared = BUILT_IN[metric]
    assert declared.needs == "references"
    for captions in ([lacks], [lacks, has], [has, lacks], []):
        values = declared.measure_all(Batch(captions)) if declared.measure_all else [
            declared.measure(caption) for caption in captions if declared.measure
        ]  # fmt: skip
        assert [value is not None for value in values] == [bool(caption.references) for caption in captions]
