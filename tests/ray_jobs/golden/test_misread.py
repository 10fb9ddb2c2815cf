"""A complete golden set of a release that wrote Python objects out is not taken for one of today's."""

import pyarrow as pa
import pytest

from ray_jobs import parts, storage
from ray_jobs.contract import BadInput, Dataset, Manifest
from ray_jobs.golden.misread import CELLS, check_texts_as_read_now, find_misread

DATASET = Dataset(source="x", label="kind", references="said")


@pytest.mark.parametrize(
    ("label", "references"),
    [
        (None, ["{'id': 0, 'image_id': 0, 'caption': 'A dog.'}"]), (None, ["['A dog.', \"It's brown.\"]"]),
        (None, ["fine", "nan"]), (None, ["b'A dog 0.'"]), (None, ["\ufeffA dog."]), (None, ["['a' 'b']"]),
        ("{'id': 3}", []), ("[0, 3]", []), ("nan", []),
    ],
)  # fmt: skip
def test_a_python_object_is_found(store: str, label: str | None, references: list[str]) -> None:
    assert next(find_misread([("a", "cat", ["A dog."]), ("b", label, references)]))[0] == "b"
    told = rf"golden set {store}/g: .* as for b: .*; change `dataset\.seed`, which makes another set"
    manifest = kept(store, label, references)
    with pytest.raises(BadInput, match=told):
        check_texts_as_read_now(f"{store}/g", manifest, DATASET)
    check_texts_as_read_now(f"{store}/g", manifest, Dataset(source="x"))  # no one reads its texts
    check_texts_as_read_now(f"{store}/g", manifest.model_copy(update={"details": {"cells": CELLS}}), DATASET)


@pytest.mark.parametrize(
    ("label", "references"),
    [
        (None, []), ("cat", ["A dog."]), ("3.0", ["[a dog]"]), ("[z", ['"stop" sign']), ("tench, Tinca tinca", ["{a}"]),
        ("even", ["[10, 20, 30]", " ", "b is a letter"]),
    ],
)  # fmt: skip
def test_texts_are_left_in_peace_and_looked_at_once(store: str, label: str | None, references: list[str]) -> None:
    manifest = kept(store, label, references)
    check_texts_as_read_now(f"{store}/g", manifest, DATASET)
    storage.delete(parts.uri_of_part(f"{store}/g", "part-00000"))
    check_texts_as_read_now(f"{store}/g", manifest, DATASET)


def kept(store: str, label: str | None, references: list[str]) -> Manifest:
    schema = pa.schema({"image_id": pa.string(), "label": pa.string(), "references": pa.list_(pa.string())})
    columns = {"image_id": ["a", "b"], "label": ["cat", label], "references": [["A dog."], references]}
    data = parts.encoded(pa.table(columns, schema=schema), {"lost": {}, "rejects": []})
    storage.write(parts.uri_of_part(f"{store}/g", "part-00000"), data)
    return parts.summed(
        "golden", "g", [parts.describe("part-00000", data)], rows_in=2, seconds={}, versions={}, details={}
    )
