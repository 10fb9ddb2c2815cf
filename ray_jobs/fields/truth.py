"""The right values of fields: as a golden set keeps them, and as values of the schema's types.

A golden set keeps what its source says as JSON, because it is shared by suites whatever their schemas are. What that
means is told by the schema, when captions are asked for and again when they are scored: a table without types, such as
a CSV file, has only texts.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ray_jobs import parts
from ray_jobs.contract import BadInput, Manifest, Spec
from ray_jobs.errors import nearest
from ray_jobs.fields.answers import DoesNotFit, check_value
from ray_jobs.fields.schema import Schema, is_box
from ray_jobs.names import printable

TRUTH = "truth"  # the column of a golden part: a JSON object, the values by field
READERS = 8
WORDS = {"true": True, "false": False, "1": True, "0": False}


def truth_of(spec: Spec, image: Mapping[str, Any]) -> dict[str, Any]:
    """The right values for an image of the golden set, of the types of the suite's schema, where it has them.

    Raises BadInput for one that no answer could equal.
    """
    schema = spec.suite.caption.schema_of_fields
    if not spec.suite.dataset.truth or schema is None:
        return {}
    found = {}
    for name, cell in json.loads(image[TRUTH] or "{}").items():
        try:
            found[name] = read_truth(schema["properties"][name], cell, name)
        except DoesNotFit as fault:
            raise BadInput(
                f"dataset {spec.suite.dataset.source}: image {printable(image['image_id'])}: column "
                f"{spec.suite.dataset.truth[name]!r}: {fault}; correct it, or widen the schema of caption.fields"
            ) from None
    return found


def check_truth(spec: Spec, golden: Manifest) -> dict[str, int]:
    """How many images have a truth, by field. Raises BadInput for one that no answer could equal, and for none at all:
    before an engine is asked for."""
    counts = Counter(dict.fromkeys(spec.suite.dataset.truth, 0))

    def count(name: str) -> Counter[str]:
        rows = parts.columns(spec.golden_uri, name, ["image_id", TRUTH]).to_pylist()
        return Counter(field for row in rows for field in truth_of(spec, row))

    if not counts:
        return {}
    with ThreadPoolExecutor(READERS) as pool:
        for found in pool.map(count, [part.name for part in golden.parts if part.rows]):
            counts.update(found)
    for field, images in counts.items():
        if not images:
            column = spec.suite.dataset.truth[field]
            raise BadInput(
                f"dataset {spec.suite.dataset.source}: column {column!r}, the truth of {field!r}, is empty for every "
                "image; name another, or take it out of dataset.truth"
            )
    return dict(counts)


def read_truth(schema: Schema, cell: Any, where: str) -> Any:
    """A cell as a value of a complete schema; raises DoesNotFit. The numbers of a box may have decimals."""
    return check_value(_with_any_numbers(schema), _typed(schema, cell, where), where)


def _with_any_numbers(schema: Schema) -> Schema:
    if is_box(schema):
        return schema | {"items": schema["items"] | {"type": "number"}}
    if schema["type"] == "array":
        return schema | {"items": _with_any_numbers(schema["items"])}
    if schema["type"] == "object":
        inside = {name: _with_any_numbers(value) for name, value in schema["properties"].items()}
        return schema | {"properties": inside}
    return schema


def _typed(schema: Schema, cell: Any, where: str) -> Any:
    """The cell with its texts read as what the schema says, where they are that."""
    kind = schema["type"]
    if kind == "array":
        return _typed_list(schema, cell, where)
    if kind == "object" and isinstance(cell, dict):
        names = schema["properties"]
        if missing := next((name for name in names if name not in cell), None):
            hint = nearest(missing, list(map(str, cell)))
            raise DoesNotFit("other-fields", f"{where} has no {missing!r}, so it is no object of label and box{hint}")
        return {name: _typed(names[name], cell[name], f"{where}.{name}") for name in names}
    if kind == "integer" and isinstance(cell, float) and cell.is_integer():
        return int(cell)  # a column of whole numbers with gaps
    if kind in ("integer", "number") and isinstance(cell, str):
        return _number(cell, kind)
    if kind == "boolean" and type(cell) in (int, str):
        return WORDS.get(str(cell).strip().lower(), cell)
    return cell


def _typed_list(schema: Schema, cell: Any, where: str) -> Any:
    if isinstance(cell, dict) and schema["items"]["type"] == "object":  # of lists, as `datasets` writes it
        columns = {name: values for name, values in cell.items() if isinstance(values, list)}
        if len({len(values) for values in columns.values()}) == 1:
            cell = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    if not is_box(schema) and schema["items"]["type"] == "string" and isinstance(cell, str) and "," not in cell:
        cell = [cell]  # one label, as a class has it
    if not isinstance(cell, list):
        return cell
    there = [item for item in cell if item is not None]
    return [_typed(schema["items"], item, f"{where}[{number}]") for number, item in enumerate(there)]


def _number(text: str, kind: str) -> Any:
    try:
        value = int(text) if kind == "integer" else float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text
