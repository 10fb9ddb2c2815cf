"""Tests of a mean when every image has the same value, so that there is no spread to go by."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ZeroVarianceTest:
    """`n` images, all with `value`, of a quantity that lies within [least, most].

    A mean beyond the bound needs a share w of other values that were not seen, which has probability (1 - w)^n: w is
    least when those lie at the end of the range. Where the range has no end nothing is beyond doubt.
    """

    value: float
    n: int
    least: float
    most: float
    method: str = "all values equal"

    def p_below(self, bound: float) -> float:
        return self._p(bound - self.value, self.most - self.value)

    def p_above(self, bound: float) -> float:
        return self._p(self.value - bound, self.value - self.least)

    def interval(self, alpha: float) -> tuple[float, float]:
        """Reaches as far as a share of unseen values at the end of the range could move the mean."""
        share = 1 - alpha ** (1 / self.n)
        ends = [self.value + share * (end - self.value) for end in (self.least, self.most)]
        return ends[0], ends[1]

    def detectable(self, bound: float, alpha: float, power: float) -> float:
        """NaN: without a spread nothing can be foretold."""
        return float("nan")

    def decisive_n(self, bound: float, below: float, above: float, power: float) -> int | None:
        """Images after which the bound is beyond doubt if all go on to have this value."""
        excess = self.value - bound
        if excess == 0:
            return None
        room = self.value - self.least if excess > 0 else self.most - self.value
        alpha = above if excess > 0 else below
        if not np.isfinite(room):
            return None
        share = _least_share(abs(excess), room)
        return 1 if share == 1 else int(np.ceil(np.log(alpha) / np.log1p(-share)))

    def _p(self, distance: float, room: float) -> float:
        if distance <= 0:
            return 1.0
        return float((1 - _least_share(distance, room)) ** self.n)


def _least_share(distance: float, room: float) -> float:
    """The least share of values at the end of the range, `room` away, that moves the mean by the distance."""
    return min(distance / room, 1.0) if room > 0 else 1.0


@dataclass(frozen=True)
class SameCaptionsTest:
    """Both runs have the same captions: there is nothing to test, and they are equal at any margin."""

    method: str = "the same captions"

    def p_below(self, bound: float) -> float:
        return 1.0

    def p_above(self, bound: float) -> float:
        return 0.0 if bound <= 0 else 1.0

    def interval(self, alpha: float) -> tuple[float, float]:
        return 0.0, 0.0

    def detectable(self, bound: float, alpha: float, power: float) -> float:
        return float("nan")

    def decisive_n(self, bound: float, below: float, above: float, power: float) -> int | None:
        return None
