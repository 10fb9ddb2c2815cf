"""Where two captions of one image diverge, and whether the same weights can give both. The audit calls it.

Greedy decoding takes the likeliest token. Two engines with the same weights add in different orders, because their
batches differ. So where two tokens are equally likely within the precision (a tie), each may take another one. After a
tie each continues from its own words, so the rest of the captions proves nothing.
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
    """The gap in nats up to which two tokens are equally likely, in the precision of the dtype."""
    return TOLERANCE_32_BIT if dtype in ("float32", "float64") else TOLERANCE_16_BIT


def is_tie(gap: float | None, limit: float) -> bool:
    """Whether the gap is within the tolerance; False for None."""
    return gap is not None and gap <= limit


def logprob_gap(
    stored: Caption, generated: Generation, decode: Callable[[Sequence[int]], str], stop_ids: frozenset[int]
) -> float | None:
    """How much less likely (nats, to four decimals) the stored caption was than the generated one where they diverge.

    None if none of the likeliest tokens there continues the stored caption. The tokens of the stored caption are not
    known, and other tokens can give the same text: so the least gap at any position up to there counts. `decode` gives
    the text of tokens, special ones left out.
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
    """Whether the stored caption can continue with this token."""
    if token in stop_ids:
        return stored.ended == "stop" and decode(before).rstrip(INCOMPLETE) == stored.text
    text = decode([*before, token])
    whole = text.rstrip(INCOMPLETE)
    if whole == text or not stored.text.startswith(whole):
        return stored.text.startswith(whole)
    ahead = stored.text[len(whole) :][:1]
    return not ahead.isascii() if ahead else stored.ended == "length"
