"""Holm's correction for several tests (1979, Scandinavian Journal of Statistics 6:65)."""

from collections.abc import Sequence


def adjust_p_values(ps: Sequence[float]) -> list[float]:
    """Adjusted p, in the order given: rejecting those at most alpha keeps the chance of any false rejection at alpha,
    however the tests depend on each other."""
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = largest
    return adjusted
