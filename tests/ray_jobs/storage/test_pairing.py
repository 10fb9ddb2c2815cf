import numpy as np
import pyarrow as pa
import pytest

from ray_jobs.storage.pairing import find_rows, read_floats, take_rows


@pytest.mark.parametrize(
    ("ids", "among", "expected"),
    [
        (["a", "b"], ["a", "b"], [1, 2]),
        (["a", "b"], ["b", "a"], [2, 1]),
        (["a", "c"], ["b", "a"], [2, None]),
        (["a"], [], [None]),
        ([], ["a"], []),
    ],
)
def test_values_in_another_order(ids: list[str], among: list[str], expected: list[float | None]) -> None:
    values = np.arange(1.0, len(among) + 1)
    values_taken = take_rows(values, find_rows(ids, among))
    np.testing.assert_equal(values_taken, np.array(expected, dtype=float))


@pytest.mark.parametrize("column", [[1, None], [True, None], [1.0, None]])
def test_a_column_as_floats(column: list[float | None]) -> None:
    table = pa.table({"words": column})
    np.testing.assert_equal(read_floats(table, "words"), [1.0, np.nan])
    np.testing.assert_equal(read_floats(table, "chrf"), [np.nan, np.nan])
    np.testing.assert_equal(read_floats(pa.table({"words": pa.nulls(2)}), "words"), [np.nan, np.nan])
