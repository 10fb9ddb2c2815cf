import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_jobs.inputs.display_text import CAPTION_CHARACTERS, sanitise, sanitise_name


@pytest.mark.parametrize(
    ("hostile", "expected"),
    [
        ("a\x00b", "a␀b"),
        ("a\x1b[31mb", "a␛[31mb"),
        ("line\nand\ttab", "line\nand\ttab"),
        ("cat\u202egnp.exe", "cat⟨U+202E⟩gnp.exe"),
        ("\u2066hidden\u2069", "⟨U+2066⟩hidden⟨U+2069⟩"),
        ("zero\u200bwidth\ufeff", "zero⟨U+200B⟩width⟨U+FEFF⟩"),
        ("next\x85line\x7f\u2028", "next⟨U+0085⟩line⟨U+007F⟩⟨U+2028⟩"),
        ("\ud800", "⟨U+D800⟩"),
        ("\uffff", "⟨U+FFFF⟩"),
        ("👩\u200d👩\u200d👧 naïve Ωμέγα 猫", "👩\u200d👩\u200d👧 naïve Ωμέγα 猫"),
        ("a" + "\u0301" * 50, "a" + "\u0301" * 4),
        ("", ""),
    ],
)
def test_nothing_hides_or_turns_the_line_around(hostile: str, expected: str) -> None:
    assert sanitise(hostile).text == expected


@settings(deadline=None)
@given(st.text())
def test_what_is_shown_is_visible_whatever_was_written(text: str) -> None:
    for character in sanitise(text).text:
        assert character in "\n\t\u200c\u200d" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
    sanitise(text).text.encode()


def test_a_long_text_says_how_long_it_is() -> None:
    text = sanitise("x" * 100_000)
    assert (len(text.text), text.note) == (CAPTION_CHARACTERS, "600 of 100,000 characters")
    assert sanitise("x" * CAPTION_CHARACTERS).note == ""


def test_a_name_is_one_line() -> None:
    assert sanitise_name(" a\n\tb ") == "a b"
    assert sanitise_name("n" * 500) == "n" * 120 + "…"
