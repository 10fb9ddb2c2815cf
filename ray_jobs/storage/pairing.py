"""Puts the values of two runs into the order of one list of images, with NaN where a run lacks an image.

The gate, the report and the comparison of two runs call it.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa


def find_rows(ids: Sequence[str], among: Sequence[str]) -> np.ndarray:
    """Returns the row of each id in the other list, -1 if the id is not there."""
    if ids == among:
        return np.arange(len(ids))
    position = {image_id: row for row, image_id in enumerate(among)}
    return np.array([position.get(image_id, -1) for image_id in ids], dtype=int)


def take_rows(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns the values at these rows, NaN for row -1."""
    taken: np.ndarray = np.append(values, np.nan)[rows]
    return taken


def read_floats(table: pa.Table, name: str) -> np.ndarray:
    """Returns a column as floats, NaN where a value is missing; all NaN without the column."""
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    return np.asarray(table[name].cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=float)
