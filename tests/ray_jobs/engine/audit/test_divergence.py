"""The place where two captions diverge, and whether that is a tie, with the demo's tokenizer."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from ray_jobs.engine.audit.divergence import TOLERANCE_16_BIT, Caption, Generation, is_tie, logprob_gap, tolerance

TOKENIZER = Tokenizer.from_file(
    str(Path(__file__).parents[4] / "demo" / "checkpoints" / "step-0800" / "tokenizer.json")
)
END = 2
RED = "one small red triangle"


def tokens(text: str) -> list[int]:
    ids: list[int] = TOKENIZER.encode(text, add_special_tokens=False).ids
    return ids


def decode(ids: Sequence[int]) -> str:
    text: str = TOKENIZER.decode(list(ids), skip_special_tokens=True)
    return text


def token(text: str) -> int:
    (token_id,) = tokens(text)
    return token_id


def make_generation(ids: Sequence[int], behind: dict[int, dict[int, float]]) -> Generation:
    """A generation of these tokens. `behind` gives other likely tokens at some places, by how many nats less likely
    each is."""
    likeliest = [
        {chosen: -0.7} | {other: -0.7 - less for other, less in behind.get(place, {}).items()}
        for place, chosen in enumerate(ids)
    ]
    text = decode(ids).rstrip("\ufffd")
    return Generation(text, ids, likeliest)


def find_gap(stored: str, answer: Generation, finish_reason: str = "stop") -> float | None:
    assert stored != answer.text
    return logprob_gap(Caption(stored, finish_reason), answer, decode, frozenset({END}))


@pytest.mark.parametrize(
    ("dtype", "less", "tie"),
    [
        ("float32", 0.0, True),
        ("float32", 0.0009, True),
        ("float32", 0.001, True),
        ("float32", 0.0012, False),
        ("bfloat16", 0.125, True),
        ("bfloat16", 0.25, True),
        ("bfloat16", 0.251, False),
        ("float16", 0.25, True),
        ("float16", 0.375, False),
    ],
)
def test_a_tie_is_a_gap_within_the_arithmetic(dtype: str, less: float, tie: bool) -> None:
    answer = make_generation([*tokens(RED), END], {2: {token(" blue"): less, token(" green"): 0.0}})
    behind = find_gap("one small blue cross", answer)  # what follows tells nothing
    assert behind == pytest.approx(less)
    assert is_tie(behind, tolerance(dtype)) is tie


def test_the_place_is_where_they_part_and_not_where_something_else_is_likely() -> None:
    answer = make_generation(
        [*tokens(RED), END], {1: {token(" large"): 0.0}, 2: {token(" blue"): 1.5}, 3: {token(" cross"): 0.0}}
    )
    assert find_gap("one small blue cross", answer) == 1.5


def test_a_token_outside_the_likeliest_is_no_tie() -> None:
    answer = make_generation([*tokens(RED), END], {2: {token(" green"): 0.0}})
    assert find_gap("one small blue cross", answer) is None
    assert not is_tie(None, TOLERANCE_16_BIT)


def test_a_shorter_caption_is_compared_at_the_end_token() -> None:
    ids = [*tokens(RED), END]
    assert find_gap("one small red", make_generation(ids, {3: {END: 0.2}})) == 0.2
    assert find_gap("one small red", make_generation(ids, {3: {token(" cross"): 0.2}})) is None
    assert find_gap("one small red", make_generation(ids, {2: {END: 0.2}})) is None  # it did not end there
    assert (
        find_gap("one small red", make_generation(ids, {3: {END: 0.2}}), finish_reason="length") is None
    )  # nor by itself


def test_a_longer_caption_is_compared_at_its_next_token() -> None:
    ids = [*tokens("one small red"), END]
    assert find_gap(RED, make_generation(ids, {3: {token(" triangle"): 0.1}})) == 0.1
    assert find_gap(RED, make_generation(ids, {3: {token(" cross"): 0.1}})) is None


def test_an_empty_caption() -> None:
    assert find_gap("", make_generation([*tokens(RED), END], {0: {END: 0.3}})) == 0.3
    assert find_gap(RED, make_generation([END], {0: {token("one"): 0.3}})) == 0.3


def test_a_character_in_several_tokens_parts_in_its_middle() -> None:
    first, acute = tokens("é")
    _, grave = tokens("è")
    ids = [*tokens("caf"), first, grave, END]
    assert find_gap("café", make_generation(ids, {4: {acute: 0.2}})) == 0.2
    assert find_gap("café", make_generation(ids, {3: {token("e"): 0.0}, 4: {token("e"): 0.0}})) is None


def test_half_a_character_is_compared_with_a_complete_one() -> None:
    ids = [*tokens("caf"), token("e"), END]
    half = tokens("é")[0]
    assert find_gap("café", make_generation(ids, {3: {half: 0.2}})) == 0.2
    assert find_gap("caffe", make_generation(ids, {3: {half: 0.2}})) is None
    assert find_gap("caf", make_generation(ids, {3: {half: 0.2}})) is None
    assert (
        find_gap("caf", make_generation(ids, {3: {half: 0.2}}), finish_reason="length") == 0.2
    )  # cut there, and not shown


def test_a_character_of_three_tokens_that_is_another_one_from_its_first_on() -> None:
    accented, chinese = tokens("é"), tokens("中")
    assert (len(accented), len(chinese)) == (2, 3)
    assert find_gap("中", make_generation([*accented, END], {0: {chinese[0]: 0.1}})) == 0.1
    assert find_gap("é", make_generation([*chinese, END], {0: {accented[0]: 0.1}, 1: {accented[1]: 5.0}})) == 0.1


def test_the_same_text_written_with_other_tokens_before() -> None:
    """The stored caption took " " and "r" where " red" is as likely. From there on its tokens differ."""
    answer = make_generation([*tokens(RED), END], {2: {token(" "): 0.0005}, 3: {token(" cross"): 3.0}})
    assert find_gap("one small red cross", answer) == pytest.approx(0.0005)


def test_a_caption_of_as_many_tokens_that_is_longer() -> None:
    """Both were cut at the limit of tokens, so the answer never leaves the caption."""
    answer = make_generation(tokens("one small red"), {2: {token(" "): 0.1}})
    assert find_gap(RED, answer, finish_reason="length") == pytest.approx(0.1)
    assert find_gap(RED, make_generation(tokens("one small red"), {}), finish_reason="length") is None
