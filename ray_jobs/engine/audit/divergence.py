"""Finds where two captions of one image diverge, and whether the same weights can give both. The audit's task calls it.

Greedy decoding takes the likeliest token. Two engines with the same weights add in different orders, because their
batches differ. If two tokens are equally likely within the precision (a tie), the engines may take different ones.
After a tie each engine continues from its own words, so the rest of the captions proves nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

TOP_LOGPROBS = 5  # tokens whose log-probability is asked for at each position
TOLERANCE_32_BIT = 0.001  # nats
# bfloat16 logits from 16 to 32 are 0.125 apart, and each of the two tokens may be off by one such step
TOLERANCE_16_BIT = 0.25  # nats
INCOMPLETE = "\ufffd"  # the bytes of a character decode to this while some of them are missing


@dataclass(frozen=True)
class Caption:
    """A stored caption. `finish_reason` is vLLM's finish reason: "stop", or "length" at the limit of tokens."""

    text: str
    finish_reason: str


@dataclass(frozen=True)
class Generation:
    """A caption of the reference engine. `tokens` includes the token that ended it.

    `likeliest` has, at each position, log-probabilities (nats) by token.
    """

    text: str
    tokens: Sequence[int]
    likeliest: Sequence[Mapping[int, float]]


def tolerance(dtype: str) -> float:
    """The gap in nats up to which two tokens count as equally likely in the precision of the dtype."""
    return TOLERANCE_32_BIT if dtype in ("float32", "float64") else TOLERANCE_16_BIT


def is_tie(gap: float | None, limit: float) -> bool:
    """Whether the gap (nats) is within the limit; False for None."""
    return gap is not None and gap <= limit


def logprob_gap(
    stored: Caption, generated: Generation, decode: Callable[[Sequence[int]], str], stop_ids: frozenset[int]
) -> float | None:
    """How much less likely (nats, to four decimals) the stored caption was than the generated one where they diverge.

    None if none of the likeliest tokens there continues the stored caption. The tokens of the stored caption are not
    known, and several token sequences can give the same text. So the least gap at any position up to there counts.
    `decode` returns the text of tokens without special tokens.
    """
    least: float | None = None
    for position, (taken, likeliest) in enumerate(zip(generated.tokens, generated.likeliest, strict=True)):
        before = generated.tokens[:position]
        for token, logprob in likeliest.items():
            gap = likeliest[taken] - logprob
            if (
                token != taken
                and (least is None or gap < least)
                and _can_continue(stored, before, token, decode, stop_ids)
            ):
                least = gap
        if not _can_continue(stored, before, taken, decode, stop_ids):
            break
    return None if least is None else round(least, 4)


def _can_continue(
    stored: Caption,
    before: Sequence[int],
    token: int,
    decode: Callable[[Sequence[int]], str],
    stop_ids: frozenset[int],
) -> bool:
    """Whether the stored caption can continue with this token after the tokens `before`."""
    if token in stop_ids:
        return stored.finish_reason == "stop" and decode(before).rstrip(INCOMPLETE) == stored.text
    text = decode([*before, token])
    whole = text.rstrip(INCOMPLETE)
    if whole == text or not stored.text.startswith(whole):
        return stored.text.startswith(whole)
    ahead = stored.text[len(whole) :][:1]
    return not ahead.isascii() if ahead else stored.finish_reason == "length"
