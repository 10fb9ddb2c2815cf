"""Compute how often a test of discordant images rejects, from the exact distribution of losses and gains.

When the number of discordant images is given, losses are binomial. So the power is a sum over that number, of at most
151 terms. Each term needs the fewest losses at which the test rejects.

A normal approximation in closed form would be 50 lines shorter. But when there are no gains, it announces up to a third
too many images, at any number of images. With that many images the test finds 97% of the differences for which 80% was
announced. docs/explanation/gate.md promises the gate's power to two percentage points.
"""

from collections.abc import Callable

import numpy as np

# p of (losses, gains, images, margin)
Test = Callable[[np.ndarray, np.ndarray, int, float], np.ndarray]
MAX_TERMS = 151


def power_below(test: Test, n: int, loss: float, gain: float, margin: float, alpha: float) -> float:
    """P(p <= alpha) for n images. `loss` and `gain` are the shares of the images that are losses and gains."""
    from scipy import stats  # imported late, because it takes half a second

    either = min(loss + gain, 1.0)
    if either == 0:
        return 0.0
    first, last = (int(quantile) for quantile in stats.binom.ppf([1e-9, 1 - 1e-9], n, either))
    discordant = np.unique(np.linspace(max(first, 0), last, MAX_TERMS).round().astype(int))
    weight = stats.binom.pmf(discordant, n, either)
    least = _find_fewest_losses(test, discordant, n, margin, alpha)
    rejected = stats.binom.sf(least - 1, discordant, min(loss / either, 1.0))
    return float((weight * rejected).sum() / weight.sum())


def _find_fewest_losses(test: Test, discordant: np.ndarray, n: int, margin: float, alpha: float) -> np.ndarray:
    """The fewest losses at which the test rejects, for each number of discordant images.

    If the test never rejects, the result is the number of discordant images plus one.
    """
    low, high = np.zeros_like(discordant), discordant + 1
    while (open_ := low < high).any():
        middle = (low + high) // 2
        rejected = test(middle, discordant - middle, n, margin) <= alpha
        high = np.where(open_ & rejected, middle, high)
        low = np.where(open_ & ~rejected, middle + 1, low)
    return low
