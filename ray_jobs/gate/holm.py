"""Correct the p of several tests by Holm's method (1979, Scandinavian Journal of Statistics 6:65)."""

from collections.abc import Sequence


def adjust_p_values(ps: Sequence[float]) -> list[float]:
    """The adjusted p, in the order of `ps`.

    Reject every test whose adjusted p is at most alpha. Then the probability of any false rejection is at most alpha,
    however the tests depend on each other.
    """
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = largest
    return adjusted
