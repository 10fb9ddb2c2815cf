"""Where two captions of one image part, and whether one checkpoint can have said both.

Greedy decoding takes the likeliest token. Two engines that hold the same weights add in other orders, by what else is
in the batch, so they may take different ones of two that are as likely to within the arithmetic: a tie. After it each
goes on from its own words, so what follows tells nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

TOP_LOGPROBS = 5  # tokens whose log-probability is asked for at each position
TOLERANCE_32_BIT = 0.001  # nats
TOLERANCE_16_BIT = (
    0.25  # nats: bfloat16 logits of 16 to 32 lie 0.125 apart, and each of the two tokens may be off by one
)
INCOMPLETE = "\ufffd"  # what the bytes of a character decode to while some of them are missing


@dataclass(frozen=True)
class Caption:
    """`ended` is vLLM's finish reason: stop, or length at the limit of tokens."""

    text: str
    ended: str


@dataclass(frozen=True)
class Generation:
    """`tokens` with the one that ended it; `likeliest` has log-probabilities (nats) by token, at each position."""

    text: str
    tokens: Sequence[int]
    likeliest: Sequence[Mapping[int, float]]


def tolerance(dtype: str) -> float:
    """The gap in nats up to which two tokens are as likely, in the arithmetic of the dtype."""
    return TOLERANCE_32_BIT if dtype in ("float32", "float64") else TOLERANCE_16_BIT


def is_tie(behind: float | None, limit: float) -> bool:
    """Whether a gap is within the tolerance; None is none."""
    return behind is not None and behind <= limit


def logprob_gap(
    stored: Caption, said: Generation, decode: Callable[[Sequence[int]], str], stop_ids: frozenset[int]
) -> float | None:
    """How much less likely than what was said (nats, to four decimals) the stored caption was where they part.

    None when none of the likeliest tokens there stays on the stored caption. Its own tokens are not known, and the same
    text can be written with others: so the least gap at any position up to there counts. `decode` gives the text of
    tokens, special ones left out.
    """
    found: float | None = None
    for place, (taken, likeliest) in enumerate(zip(said.tokens, said.likeliest, strict=True)):
        before = said.tokens[:place]
        for token, chance in likeliest.items():
            behind = likeliest[taken] - chance
            if (
                token != taken
                and (found is None or behind < found)
                and _can_continue(stored, before, token, decode, stop_ids)
            ):
                found = behind
        if not _can_continue(stored, before, taken, decode, stop_ids):
            break
    return None if found is None else round(found, 4)


def _can_continue(
    stored: Caption,
    before: Sequence[int],
    token: int,
    decode: Callable[[Sequence[int]], str],
    stop_ids: frozenset[int],
) -> bool:
    """Whether the stored caption can have gone on with this token."""
    if token in stop_ids:
        return stored.ended == "stop" and decode(before).rstrip(INCOMPLETE) == stored.text
    text = decode([*before, token])
    whole = text.rstrip(INCOMPLETE)
    if whole == text or not stored.text.startswith(whole):
        return stored.text.startswith(whole)
    ahead = stored.text[len(whole) :][:1]
    return not ahead.isascii() if ahead else stored.ended == "length"
