"""Values of two runs, image by image: put into the order of one list of images, NaN where a run lacks an image."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa


def find_rows(ids: Sequence[str], among: Sequence[str]) -> np.ndarray:
    """For each id its row in the other list, -1 where it is not there."""
    if ids == among:
        return np.arange(len(ids))
    position = {image_id: row for row, image_id in enumerate(among)}
    return np.array([position.get(image_id, -1) for image_id in ids], dtype=int)


def take_rows(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The values at these rows, NaN for row -1."""
    taken: np.ndarray = np.append(values, np.nan)[rows]
    return taken


def read_floats(table: pa.Table, name: str) -> np.ndarray:
    """A column as floats, NaN where a value is missing, or all of the column."""
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    return np.asarray(table[name].cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=float)
