"""dev.wording finds the sentences that the style guide forbids, each with its line."""

import ast

import pytest

from dev.wording.sentences import list_page_sentences, list_sentences

BECAUSE, PER = '", for" that means "because"', '"a night", "a second" for "per"'


@pytest.mark.parametrize(
    ("sentence", "habits"),
    [
        ("One that dies ends the engine, for what it was rendering may be to blame.", [BECAUSE, '"one that"']),
        ("It is read once, for\nthe weights are large.", [BECAUSE]),
        ("Other images, for example those of a folder, are left out.", []),
        ("It has a column for each word that is counted.", []),
        ("It looks once a minute.", []),
        ("It reads 100 images a second.", [PER]),
        ("It waits for a minute, then starts a process.", []),
        ("At most 5, no more than that.", ['"no more than", "no less than"']),
        ("Whoever calls this knows what is missing.", ['"whoever"', '"what is"']),
    ],
)
def test_a_habit_is_found_and_plain_english_is_not(sentence: str, habits: list[str]) -> None:
    assert [place.word for place in list_page_sentences(sentence, "docs/x.md")] == habits


def test_docstrings_and_comments_are_read_and_nothing_else() -> None:
    source = (
        '"""A module.\n\nWhoever reads it."""\n\nTEXT = "whoever"  # one\n\n\n# takes 3 GB\n# a process\ndef f(): ...\n'
    )
    assert [place[1:] for place in list_sentences(ast.parse(source), source, "ray_jobs/x.py")] == [
        (3, '"whoever"'),
        (8, PER),
    ]


def test_blocks_of_code_in_a_page_are_left_out() -> None:
    page = "# Title\n\n```\nwhoever\n```\n\nwhoever\n"
    assert [place.line for place in list_page_sentences(page, "docs/x.md")] == [7]
