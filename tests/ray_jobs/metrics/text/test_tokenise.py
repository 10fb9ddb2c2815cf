import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_jobs.metrics.text.tokenise import number_terms, split_terms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A man, riding a Wave!", "a man riding a wave"),
        ("It isn't the man's dog.", "it is n't the man 's dog"),
        ("they're we've I'll I'd I'm", "they 're we 've i 'll i 'd i 'm"),
        ("a t-shirt (red) [blue] {x}", "a t-shirt red blue x"),
        ("costs $3.50, or 1,000 at 10:30; 5%", "costs $ 3.50 or 1,000 at 10:30 5 %"),
        ("rock'n'roll at five o'clock", "rock'n'roll at five o'clock"),
        ("``quoted'' 'text' \"here\"", "quoted text here"),
        ("-- - ... … — ? ! : ;", ""),
        ("狗在草地", "狗 在 草 地"),
        ("東京 tower", "東 京 tower"),
        ("강아지가 달린다", "강아지가 달린다"),
        ("हिन्दी में", "हिन्दी में"),
        ("cafe\u0301 café", "cafe\u0301 café"),
        ("🙂🙂 ok", "🙂 🙂 ok"),
        ("a\x00b \x07", "a b"),
        ("", ""),
        (" \t\n\u2028", ""),
    ],
)
def test_terms_as_the_coco_tools_make_them(text: str, expected: str) -> None:
    assert split_terms(text) == expected.split()


@given(st.lists(st.text(), max_size=5))
def test_numbers_distinguish_the_same_texts_as_terms(texts: list[str]) -> None:
    flat, lengths = number_terms(texts)
    words = [word for text in texts for word in split_terms(text)]
    assert lengths.tolist() == [len(split_terms(text)) for text in texts]
    assert len(flat) == len(words)
    assert len(set(flat.tolist())) == len(set(words))
    assert not any(character.isspace() for word in words for character in word)


def test_numbers_are_the_same_in_every_process() -> None:
    code = "from ray_jobs.metrics.text.tokenise import *; print(number_terms(['A man 狗 🙂', 'x' * 99])[0].tolist())"
    outputs = {
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
                       capture_output=True, text=True, check=True).stdout for seed in ("1", "2")
    }  # fmt: skip
    assert len(outputs) == 1
    assert number_terms(["A man 狗 🙂", "x" * 99])[0].tolist() == eval(outputs.pop())


def test_no_text_and_no_word() -> None:
    flat, lengths = number_terms([])
    assert (len(flat), len(lengths), flat.dtype.name) == (0, 0, "uint64")
    assert number_terms(["", "."])[1].tolist() == [0, 0]
