"""What is measured of each caption: one small file a metric, a value an image, None where there is nothing to measure.

A metric is a function of a `Captioned`. Names, and whether more is better, are declared in `contract.METRICS`.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Captioned:
    """One caption with what is known about it. `references` is empty when the data set has none for this image."""

    text: str
    tokens: int
    finish_reason: str
    references: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        return self.text.split()


Metric = Callable[[Captioned], float | None]


def registry() -> dict[str, Metric]:
    """Every text metric by name, in the order of the columns."""
    from ray_jobs.metrics import chrf, exact_match, faults, length, repetition

    return {
        "characters": length.characters,
        "words": length.words,
        "tokens": length.tokens,
        "empty": faults.empty,
        "truncated": faults.truncated,
        "repetition": repetition.repetition,
        "exact_match": exact_match.exact_match,
        "chrf": chrf.chrf,
    }
