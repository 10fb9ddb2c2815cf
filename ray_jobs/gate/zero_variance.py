"""Test a mean when every image has the same value, so that there is no spread to use."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ZeroVarianceTest:
    """`n` images that all have `value`, of a metric whose range is [least, most].

    If the true mean is beyond the bound, a share w of other values exists. The probability that n images show none of
    them is (1 - w)^n. The share w is smallest when the other values lie at the end of the range. When the range is
    infinite, no bound can be proven.
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
        """The means that are possible when unseen values at the ends of the range have the largest share at `alpha`."""
        share = 1 - alpha ** (1 / self.n)
        ends = [self.value + share * (end - self.value) for end in (self.least, self.most)]
        return ends[0], ends[1]

    def detectable(self, bound: float, alpha: float, power: float) -> float:
        """NaN, because nothing can be predicted without a spread."""
        return float("nan")

    def decisive_n(self, bound: float, below: float, above: float, power: float) -> int | None:
        """The number of images that would decide, if all further images have this value; None when none would."""
        excess = self.value - bound
        if excess == 0:
            return None
        room = self.value - self.least if excess > 0 else self.most - self.value
        alpha = above if excess > 0 else below
        if not np.isfinite(room):
            return None
        share = _least_share(abs(excess), room)
        if share == 1:
            return 1
        with np.errstate(over="ignore", divide="ignore"):
            count = np.ceil(np.log(alpha) / np.log1p(-share))
        return int(count) if np.isfinite(count) else None  # infinite for an excess near the smallest of floats

    def _p(self, distance: float, room: float) -> float:
        if distance <= 0:
            return 1.0
        return float((1 - _least_share(distance, room)) ** self.n)


def _least_share(distance: float, room: float) -> float:
    """The smallest share of values at the end of the range, `room` away, that moves the mean by `distance`."""
    return min(distance / room, 1.0) if room > 0 else 1.0


@dataclass(frozen=True)
class SameCaptionsTest:
    """Both runs have the same captions, so there is nothing to test. They are equal at any margin."""

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
