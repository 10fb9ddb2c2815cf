"""The true values of fields, with the types of the schema, and the faults reported before an engine starts."""

import json
import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from field_schemas import WHOLE
from samples import make_spec

from ray_jobs.contract.field_schema import complete_schema
from ray_jobs.contract.spec import Spec
from ray_jobs.fields.answers import DoesNotFit
from ray_jobs.fields.truth import check_truth, read_truth, truth_of
from ray_jobs.golden.build_part import SCHEMA, WITH_TRUTH
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import manifests, parts

PROPERTIES = complete_schema(WHOLE)["properties"]
BOX = [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("field", "cell", "expected"),
    [
        ("count", 3, 3),
        ("count", 3.0, 3),
        ("count", " 3", 3),
        ("share", 1, 1.0),
        ("share", "0.25", 0.25),
        ("indoors", True, True),
        ("indoors", "False", False),
        ("indoors", 1, True),
        ("colour", "red", "red"),
        ("rank", "3", 3),
        ("objects", ["a", None, "b"], ["a", "b"]),
        ("objects", "dog", ["dog"]),
        ("objects", [], []),
        ("box", BOX, [1.0, 2.0, 3.0, 4.0]),
        ("box", [0.5, 0.5, 9.5, 9.5], [0.5, 0.5, 9.5, 9.5]),
        ("boxes", [BOX], [[1.0, 2.0, 3.0, 4.0]]),
        ("found", [{"label": "a", "box": BOX, "area": 4}], [{"label": "a", "box": [1.0, 2.0, 3.0, 4.0]}]),
        ("found", {"label": ["a"], "box": [BOX]}, [{"label": "a", "box": [1.0, 2.0, 3.0, 4.0]}]),
    ],
)
def test_a_cell_is_of_its_fields_type(field: str, cell: Any, expected: Any) -> None:
    truth_read = read_truth(PROPERTIES[field], cell, field)
    assert truth_read == expected
    assert type(truth_read) is type(expected)


@pytest.mark.parametrize(
    ("field", "cell", "message"),
    [
        ("count", 3.5, "count is 3.5, not a value of type integer"),
        ("count", "three", "count is 'three', not a value of type integer"),
        ("count", 12, "count is 12, not from 0 to 9"),
        ("count", True, "count is True, not a value of type integer"),
        ("share", "nan", "share is 'nan', not a value of type number"),
        ("indoors", "maybe", "indoors is 'maybe', not a value of type boolean"),
        ("indoors", 2, "indoors is 2, not a value of type boolean"),
        ("colour", "blue", "colour is 'blue', which is none of its enum"),
        ("colour", 3, "colour is 3, not a value of type string"),
        ("objects", "dog, cat", "objects is 'dog, cat', not an array"),
        ("objects", ["a"] * 6, "objects has 6 items, not 0 to 5"),
        ("objects", [3], "objects[0] is 3, not a value of type string"),
        ("box", [10, 10, 5, 5], "box is [10.0, 10.0, 5.0, 5.0], not x1, y1, x2, y2"),
        ("box", [0, 0, 1920, 1080], "box[2] is 1920, not from 0 to 1000"),
        ("boxes", BOX, "boxes[0] is 1, not an array"),
        ("found", [{"category": "a", "box": BOX}], "found[0] has no 'label', so it is no object of label and box"),
        ("found", ["a"], "found[0] is 'a', not an object"),
    ],
)
def test_a_cell_that_no_answer_can_equal_is_reported(field: str, cell: Any, message: str) -> None:
    with pytest.raises(DoesNotFit) as error:
        read_truth(PROPERTIES[field], cell, field)
    assert message in str(error.value)


FIELDS = {"count": PROPERTIES["count"], "colour": PROPERTIES["colour"]}


def golden(root: Path, *truths: dict[str, Any], columns: dict[str, str] | None = None) -> Spec:
    """A golden set of two parts, one image for each truth."""
    spec = make_spec(
        root=str(root),
        caption__fields={"properties": FIELDS},
        dataset__truth=columns or {"count": "n", "colour": "c"},
    )
    parts_written = []
    for number in range(2):
        rows = [
            dict.fromkeys(SCHEMA.names) | {"image_id": f"image-{index}", "truth": json.dumps(truth)}
            for index, truth in enumerate(truths)
            if index % 2 == number
        ]
        table = pa.Table.from_pylist(rows, schema=WITH_TRUTH)
        parts_written.append(parts.write(spec.golden_uri, manifests.name_of_part(number), table, {}))
    manifests.commit(
        spec.golden_uri, manifests.build_manifest("golden", spec.golden_id, parts_written, len(truths), {}, {})
    )
    return spec


def test_how_many_images_have_a_truth_is_counted(tmp_path: Path) -> None:
    spec = golden(tmp_path, {"count": 1, "colour": "red"}, {"count": "2"}, {}, {"colour": "dark blue"})
    assert check_truth(spec, manifests.require_manifest(spec.golden_uri, "golden")) == {"count": 2, "colour": 2}


def test_a_truth_that_no_answer_can_equal_ends_the_job_with_its_image_and_column(tmp_path: Path) -> None:
    spec = golden(tmp_path, {"count": 1, "colour": "red"}, {"count": 10})
    with pytest.raises(InputError) as error:
        check_truth(spec, manifests.require_manifest(spec.golden_uri, "golden"))
    assert str(error.value) == (
        "dataset /data/images: image image-1: column 'n': count is 10, not from 0 to 9; correct it, or widen the "
        "schema of caption.fields"
    )


def test_a_column_that_is_empty_everywhere_is_reported(tmp_path: Path) -> None:
    spec = golden(tmp_path, {"count": 1}, {"count": 2})
    with pytest.raises(InputError, match=r"column 'c', the truth of 'colour', is empty for every image; name another"):
        check_truth(spec, manifests.require_manifest(spec.golden_uri, "golden"))


def of_boxes(root: Path, boxes: list[Any], **box: Any) -> Spec:
    """A golden set of one image for each box, each of them 500 x 375 pixels."""
    field_schema = {
        "type": "array",
        "items": {"type": "object", "properties": {"label": {"type": "string"}, "box": box}},
    }
    spec = make_spec(
        root=str(root), caption__fields={"properties": {"found": field_schema}}, dataset__truth={"found": "f"}
    )
    rows = [
        dict.fromkeys(SCHEMA.names)
        | {"image_id": f"image-{index}", "source_width": 500, "source_height": 375}
        | {"truth": json.dumps({"found": [{"label": "a", "box": true_box}]})}
        for index, true_box in enumerate(boxes)
    ]
    part = parts.write(spec.golden_uri, "part-00000", pa.Table.from_pylist(rows, schema=WITH_TRUTH), {})
    manifests.commit(spec.golden_uri, manifests.build_manifest("golden", spec.golden_id, [part], len(rows), {}, {}))
    return spec


PIXELS = [[10 * n, 5, 20 + 10 * n, 370] for n in range(20)]
IN_PIXELS = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 500}, "minItems": 4, "maxItems": 4}
IN_THOUSANDTHS = {"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4}


@pytest.mark.parametrize(
    ("boxes", "box", "warned"),
    [
        (PIXELS, IN_THOUSANDTHS, True),
        (PIXELS[1:], IN_THOUSANDTHS, False),
        ([*PIXELS, [0, 0, 501, 9]], IN_THOUSANDTHS, False),
        (PIXELS, IN_PIXELS, False),
    ],
    ids=["pixels", "few", "thousandths", "asked for in pixels"],
)
def test_boxes_that_look_like_pixels_are_reported(
    tmp_path: Path, boxes: list[Any], box: dict[str, Any], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    spec = of_boxes(tmp_path, boxes, **box)
    with caplog.at_level(logging.WARNING, "assay"):
        check_truth(spec, manifests.require_manifest(spec.golden_uri, "golden"))
    message = "its 20 true boxes all lie within the pixels of their images: if they are pixels, divide"
    assert [message in record.getMessage() for record in caplog.records] == [True] * warned


def test_boxes_of_width_and_height_are_reported(tmp_path: Path) -> None:
    spec = of_boxes(tmp_path, [[10, 10, 50, 60], [200, 10, 50, 60]], **IN_THOUSANDTHS)
    with pytest.raises(
        InputError, match=r"image image-1: .* convert the boxes if they are x, y, width, height as in COCO"
    ):
        check_truth(spec, manifests.require_manifest(spec.golden_uri, "golden"))


def test_without_truth_nothing_is_read() -> None:
    spec = make_spec(caption__fields={"properties": FIELDS})
    assert truth_of(spec, {"image_id": "a"}) == {}
    assert check_truth(spec, None) == {}  # type: ignore[arg-type]
