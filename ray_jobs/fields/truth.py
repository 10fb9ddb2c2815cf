"""Convert the true values of fields from the JSON in a golden set to the types of the suite's schema.

A golden set keeps the values as its source has them, because suites with different schemas share the set. A table
without types, such as a CSV file, has only texts. So the caption job converts the values by the schema, and the scoring
converts them again.
"""

import json
import logging
import math
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ray_jobs.contract.artifacts import Manifest
from ray_jobs.contract.field_schema import BOX_RANGE, Schema, is_box
from ray_jobs.contract.spec import Spec
from ray_jobs.contract.suite import Suite
from ray_jobs.fields.answers import BOX_CORNERS, DoesNotFit, check_value
from ray_jobs.inputs.errors import InputError, suggest
from ray_jobs.inputs.names import printable
from ray_jobs.storage import parts

TRUTH = "truth"  # the column of a golden part that holds a JSON object of the values by field
READERS = 8
SIZES = ("source_width", "source_height")
SMALL_SIDE, MANY_BOXES = 1000, 20  # pixels of a side; count of boxes from which the unit is doubted
log = logging.getLogger("assay")

WORDS = {"true": True, "false": False, "1": True, "0": False}


def truth_of(spec: Spec, image: Mapping[str, Any]) -> dict[str, Any]:
    """Return the true values of an image of the golden set by field, with the types of the suite's schema.

    Raises InputError for a value that no answer could equal.
    """
    return truth_of_suite(spec.suite, image)


def truth_of_suite(suite: Suite, image: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same as `truth_of` from the suite alone, because the check of a suite has no spec."""
    schema = suite.caption.schema_of_fields
    if not suite.dataset.truth or schema is None:
        return {}
    values = {}
    for name, cell in json.loads(image[TRUTH] or "{}").items():
        try:
            values[name] = read_truth(schema["properties"][name], cell, name)
        except DoesNotFit as fault:
            remedy = "correct it, or widen the schema of caption.fields"
            if fault.reason == BOX_CORNERS:
                remedy = "correct it, or convert the boxes if they are x, y, width, height as in COCO"
            raise InputError(
                f"dataset {suite.dataset.source}: image {printable(image['image_id'])}: column "
                f"{suite.dataset.truth[name]!r}: {fault}; {remedy}"
            ) from None
    return values


def check_truth(spec: Spec, golden: Manifest) -> dict[str, int]:
    """Return how many images have a true value, by field. The caption job calls this before it asks for an engine.

    Raises InputError for a value that no answer could equal, and for a field without any true value.
    """
    counts, boxes = Counter(dict.fromkeys(spec.suite.dataset.truth, 0)), BoxCounts()
    if not counts:
        return {}

    def count(name: str) -> tuple[Counter[str], BoxCounts]:
        rows = parts.read_columns(spec.golden_uri, name, ["image_id", TRUTH, *SIZES]).to_pylist()
        values = [truth_of(spec, row) for row in rows]
        part_counts = Counter(field for field_values in values for field in field_values)
        return part_counts, BoxCounts().plus(
            *(count_boxes(spec, row, field_values) for row, field_values in zip(rows, values, strict=True))
        )

    with ThreadPoolExecutor(READERS) as pool:
        for part_counts, part_boxes in pool.map(count, [part.name for part in golden.parts if part.rows]):
            counts.update(part_counts)
            boxes = boxes.plus(part_boxes)
    for field, images in counts.items():
        if not images:
            column = spec.suite.dataset.truth[field]
            raise InputError(
                f"dataset {spec.suite.dataset.source}: column {column!r}, the truth of {field!r}, is empty for every "
                "image; name another, or take it out of dataset.truth"
            )
    boxes.warn(spec)
    return dict(counts)


@dataclass(frozen=True)
class BoxCounts:
    """Counts of boxes, in thousandths, of images with fewer than SMALL_SIDE pixels on both sides.

    `beyond` counts the boxes with a coordinate beyond the pixels of their image. If there are many boxes and none is
    beyond, the boxes are likely in pixels.
    """

    boxes: int = 0
    beyond: int = 0

    def plus(self, *others: "BoxCounts") -> "BoxCounts":
        return BoxCounts(
            self.boxes + sum(other.boxes for other in others), self.beyond + sum(other.beyond for other in others)
        )

    def warn(self, spec: Spec) -> None:
        if self.boxes >= MANY_BOXES and not self.beyond:
            log.warning(
                "dataset %s: its %d true boxes all lie within the pixels of their images: if they are pixels, divide "
                "them by the image's width and height and multiply by 1000, as caption.fields has them",
                spec.suite.dataset.source, self.boxes,
            )  # fmt: skip


def count_boxes(spec: Spec, image: Mapping[str, Any], values: Mapping[str, Any]) -> BoxCounts:
    """Return the counts of one image with these true values."""
    width, height = (image[name] or 0 for name in SIZES)
    if not (0 < width < SMALL_SIDE and 0 < height < SMALL_SIDE):
        return BoxCounts()
    properties = (spec.suite.caption.schema_of_fields or {})["properties"]
    boxes = [box for name, value in values.items() for box in list_boxes(properties[name], value)]
    return BoxCounts(len(boxes), sum(box[2] > width or box[3] > height for box in boxes))


def list_boxes(schema: Schema, value: Any) -> list[list[float]]:
    """Return the boxes in a value whose unit, by the schema, is a thousandth of the image."""
    if is_box(schema):
        ends = schema["items"]["minimum"], schema["items"]["maximum"]
        return [value] if ends == BOX_RANGE else []
    if schema["type"] == "array":
        return [box for item in value for box in list_boxes(schema["items"], item)]
    return list_boxes(schema["properties"]["box"], value["box"]) if schema["type"] == "object" else []


def read_truth(schema: Schema, cell: Any, where: str) -> Any:
    """Return a cell as a value of a complete schema. The numbers of a box may have decimals. Raises DoesNotFit."""
    return check_value(_allow_any_numbers(schema), _convert_cell(schema, cell, where), where)


def _allow_any_numbers(schema: Schema) -> Schema:
    if is_box(schema):
        return schema | {"items": schema["items"] | {"type": "number"}}
    if schema["type"] == "array":
        return schema | {"items": _allow_any_numbers(schema["items"])}
    if schema["type"] == "object":
        properties = {name: _allow_any_numbers(value) for name, value in schema["properties"].items()}
        return schema | {"properties": properties}
    return schema


def _convert_cell(schema: Schema, cell: Any, where: str) -> Any:
    """Return the cell with its texts converted to the schema's types where that is possible."""
    kind = schema["type"]
    if kind == "array":
        return _convert_list(schema, cell, where)
    if kind == "object" and isinstance(cell, dict):
        names = schema["properties"]
        if missing := next((name for name in names if name not in cell), None):
            hint = suggest(missing, list(map(str, cell)))
            raise DoesNotFit("other-fields", f"{where} has no {missing!r}, so it is no object of label and box{hint}")
        return {name: _convert_cell(names[name], cell[name], f"{where}.{name}") for name in names}
    if kind == "integer" and isinstance(cell, float) and cell.is_integer():
        return int(cell)  # a column of whole numbers with gaps
    if kind in ("integer", "number") and isinstance(cell, str):
        return _parse_number(cell, kind)
    if kind == "boolean" and type(cell) in (int, str):
        return WORDS.get(str(cell).strip().lower(), cell)
    return cell


def _convert_list(schema: Schema, cell: Any, where: str) -> Any:
    if isinstance(cell, dict) and schema["items"]["type"] == "object":  # of lists, as `datasets` writes it
        columns = {name: values for name, values in cell.items() if isinstance(values, list)}
        if len({len(values) for values in columns.values()}) == 1:
            cell = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    if not is_box(schema) and schema["items"]["type"] == "string" and isinstance(cell, str) and "," not in cell:
        cell = [cell]  # one label, as a class has it
    if not isinstance(cell, list):
        return cell
    items = [item for item in cell if item is not None]
    return [_convert_cell(schema["items"], item, f"{where}[{number}]") for number, item in enumerate(items)]


def _parse_number(text: str, kind: str) -> Any:
    try:
        value = int(text) if kind == "integer" else float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text
