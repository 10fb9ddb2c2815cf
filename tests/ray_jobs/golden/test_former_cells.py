"""A golden set of a release that wrote Python objects as text is not reused."""

import pyarrow as pa
import pytest
from samples import make_spec as make_spec

from ray_jobs.contract.artifacts import Manifest
from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.golden.build_part import describe_part
from ray_jobs.golden.commit_set import commit_set
from ray_jobs.golden.former_cells import CELLS, check_texts_as_read_now, find_misread
from ray_jobs.golden.part_plan import GoldenPlan, PlannedPart
from ray_jobs.golden.part_totals import PartTotals
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import manifests, objects, parts

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
    message = rf"golden set {store}/g: .* as for b: .*; change `dataset\.seed`, which makes another set"
    manifest = write_part(store, label, references)
    with pytest.raises(InputError, match=message):
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
    manifest = write_part(store, label, references)
    check_texts_as_read_now(f"{store}/g", manifest, DATASET)
    objects.delete(manifests.uri_of_part(f"{store}/g", "part-00000"))
    check_texts_as_read_now(f"{store}/g", manifest, DATASET)


def write_part(store: str, label: str | None, references: list[str]) -> Manifest:
    schema = pa.schema({"image_id": pa.string(), "label": pa.string(), "references": pa.list_(pa.string())})
    columns = {"image_id": ["a", "b"], "label": ["cat", label], "references": [["A dog."], references]}
    data = parts.encode(pa.table(columns, schema=schema), {"lost": {}, "rejects": []})
    objects.write(manifests.uri_of_part(f"{store}/g", "part-00000"), data)
    return manifests.build_manifest(
        "golden", "g", [parts.describe("part-00000", data)], rows_in=2, seconds={}, versions={}, details={}
    )


@pytest.mark.parametrize("cells", [None, CELLS], ids=["begun by an earlier version", "by this one"])
def test_a_set_is_of_the_version_that_planned_it(store: str, cells: int | None) -> None:
    spec = make_spec(root=store, dataset=DATASET.model_dump())
    columns = {
        "image_id": ["a"], "blake3": ["00"], "repairs": [[]], "format": ["PNG"], "source_bytes": [1], "label": ["cat"],
        "references": [["{'id': 0, 'caption': 'A dog.'}"]],
    }  # fmt: skip
    data = parts.encode(pa.table(columns), {"lost": {}, "rejects": []})
    objects.write(manifests.uri_of_part(spec.golden_uri, "part-00000"), data)
    totals = PartTotals()
    totals.add(describe_part("part-00000", data, "found"))
    planned_parts = (PlannedPart(name="part-00000", rows=1, bytes=1, file="f", group=0),)
    plan = GoldenPlan(versions={}, listed=1, parts=planned_parts, cells=cells)
    manifest = commit_set(spec, plan, totals, {})
    if cells:
        check_texts_as_read_now(spec.golden_uri, manifest, DATASET)
    else:
        with pytest.raises(InputError, match="wrote what is no text out as Python, as for a"):
            check_texts_as_read_now(spec.golden_uri, manifest, DATASET)
