import numpy as np
import pyarrow as pa

from ray_jobs.gate.pairing import paired


def table(rows: dict[str, float | None]) -> pa.Table:
    return pa.table({"image_id": list(rows), "chrf": pa.array(list(rows.values()), pa.float64())})


def test_images_are_paired_by_name_whatever_their_order() -> None:
    pairs = paired(table({"a": 1.0, "b": 2.0, "c": 3.0}), table({"c": 30.0, "a": 10.0, "b": 20.0}), ["chrf"])["chrf"]
    assert pairs.candidate.tolist() == [1, 2, 3]
    assert pairs.baseline.tolist() == [10, 20, 30]


def test_what_either_lacks_is_missing_and_never_0() -> None:
    pairs = paired(table({"a": None, "b": 2.0, "new": 3.0}), table({"a": 10.0, "b": None, "old": 9.0}), ["chrf"])[
        "chrf"
    ]
    assert np.array_equal(pairs.candidate, [np.nan, 2, 3], equal_nan=True)
    assert np.array_equal(pairs.baseline, [10, np.nan, np.nan], equal_nan=True)


def test_a_baseline_without_images() -> None:
    assert np.isnan(paired(table({"a": 1.0}), table({}), ["chrf"])["chrf"].baseline).all()
