from typing import Any

import pyarrow as pa
import pytest

from ray_jobs.contract import BadInput, Dataset
from ray_jobs.sources.cells import image_cell, label_text, texts
from ray_jobs.sources.columns import columns_of


def test_images() -> None:
    assert image_cell(memoryview(b"x")) == b"x"
    assert image_cell({"bytes": b"", "path": "/missing"}) == b""
    assert image_cell({"bytes": None, "path": "/missing/x.png"}) == "/missing/x.png"
    assert image_cell(" a/b.png\n") == "a/b.png"
    assert image_cell({"bytes": None, "path": None}) is image_cell(None) is image_cell(" ") is None


def test_references() -> None:
    assert (texts(None), texts(""), texts("one"), texts(["one", 2, None])) == ([], [], ["one"], ["one", "2"])
    assert texts("lone \ud800")[0].encode()


@pytest.mark.parametrize(
    ("value", "text"),
    [(3, "3"), (3.0, "3"), (3.5, "3.5"), (float("nan"), None), (None, None), ("", None), (" cat ", "cat"),
     (b"7\n", "7"), (True, "True"), (0, "0")],
)  # fmt: skip
def test_labels(value: Any, text: str | None) -> None:
    assert label_text(value) == text


STRUCT = pa.struct({"bytes": pa.binary(), "path": pa.string()})


@pytest.mark.parametrize(
    ("fields", "image", "places"),
    [
        ({"x": pa.binary(), "label": pa.int64()}, "x", False),
        ({"embedding": pa.binary(), "IMG": pa.large_binary()}, "IMG", False),
        ({"jpg": STRUCT, "mask": pa.binary(), "url": pa.string()}, "jpg", False),
        ({"photo": pa.binary(), "image": STRUCT}, "image", False),
        ({"URL": pa.string(), "TEXT": pa.string(), "path": pa.string()}, "path", True),
        ({"image": pa.struct({"a": pa.binary()}), "file": pa.large_string()}, "file", True),
    ],
)
def test_the_image_column_is_found(fields: dict[str, Any], image: str, places: bool) -> None:
    found = columns_of(Dataset(source="x"), "x", pa.schema(fields))
    assert (found.image, found.places) == (image, places)


@pytest.mark.parametrize("fields", [{"a": pa.binary(), "b": STRUCT}, {"caption": pa.string(), "n": pa.int64()}])
def test_columns_that_do_not_tell_are_listed(fields: dict[str, Any]) -> None:
    first, second = fields
    with pytest.raises(BadInput, match=rf"cannot tell .* {first} \(.*, {second} \(.*; set `dataset\.image`"):
        columns_of(Dataset(source="x"), "x", pa.schema(fields))
    assert columns_of(Dataset(source="x", image=second), "x", pa.schema(fields)).image == second
