"""Put two runs side by side, image by image."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa


class Pairs(NamedTuple):
    """One value an image in both arrays, in the same order, NaN where missing."""

    baseline: np.ndarray
    candidate: np.ndarray


def paired(candidate: pa.Table, baseline: pa.Table, metrics: list[str]) -> dict[str, Pairs]:
    """The values of each metric over the candidate's images; those the baseline does not have are NaN there."""
    position = {image_id: i for i, image_id in enumerate(baseline["image_id"].to_pylist())}
    order = np.array([position.get(image_id, -1) for image_id in candidate["image_id"].to_pylist()])
    pairs = {}
    for name in metrics:
        old = np.append(_values(baseline, name), np.nan)  # index -1: the image is not in the baseline
        pairs[name] = Pairs(old[order], _values(candidate, name))
    return pairs


def _values(table: pa.Table, name: str) -> np.ndarray:
    return np.asarray(table[name].to_numpy(zero_copy_only=False), dtype=float)
