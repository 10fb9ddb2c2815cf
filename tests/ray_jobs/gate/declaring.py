"""Metrics as the gate sees them, for the tests."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ray_jobs.gate.paired_differences import PairedDifferences


@dataclass(frozen=True)
class Declared:
    name: str = "score"
    direction: int = 1
    range: tuple[float, float] = (-math.inf, math.inf)
    kind: str = "mean"
    unit: str = ""
    order: int = 1
    needs: str = "nothing"


JUDGE = Declared("judge", range=(0, 1))
EXACT = Declared("exact_match", range=(0, 1), kind="share")
EMPTY = Declared("empty", -1, (0, 1), "share")
CHRF = Declared("chrf", range=(0, 100))
WORDS = Declared("words", 0, (0, math.inf))


def pairs(metric: Declared, old: ArrayLike, new: ArrayLike, clusters: list[str] | None = None) -> PairedDifferences:
    found = PairedDifferences(metric, clusters is not None)
    found.add(np.asarray(old, dtype=float), np.asarray(new, dtype=float), numbered(clusters))
    return found


def numbered(names: list[str] | None) -> np.ndarray | None:
    return None if names is None else np.unique(names, return_inverse=True)[1]
