"""Metrics as the gate sees them, for the tests."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ray_jobs.gate.paired_differences import PairedDifferences


@dataclass(frozen=True)
class DeclaredMetric:
    name: str = "score"
    direction: int = 1
    range: tuple[float, float] = (-math.inf, math.inf)
    kind: str = "mean"
    unit: str = ""
    order: int = 1
    needs: str = "nothing"


JUDGE = DeclaredMetric("judge", range=(0, 1))
EXACT = DeclaredMetric("exact_match", range=(0, 1), kind="share")
EMPTY = DeclaredMetric("empty", -1, (0, 1), "share")
CHRF = DeclaredMetric("chrf", range=(0, 100))
WORDS = DeclaredMetric("words", 0, (0, math.inf))


def make_pairs(
    metric: DeclaredMetric, old: ArrayLike, new: ArrayLike, clusters: list[str] | None = None
) -> PairedDifferences:
    differences = PairedDifferences(metric, clusters is not None)
    differences.add(np.asarray(old, dtype=float), np.asarray(new, dtype=float), encode_clusters(clusters))
    return differences


def encode_clusters(names: list[str] | None) -> np.ndarray | None:
    return None if names is None else np.unique(names, return_inverse=True)[1]
