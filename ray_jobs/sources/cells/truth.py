"""Read the cells of the columns that `dataset.truth` names, as the JSON that a golden set stores.

The values keep the types of the source. `ray_jobs.fields.truth` applies a suite's schema later, because suites with
other schemas share the golden set.
"""

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from ray_jobs.sources.cells.texts import CellFault, decode_text, describe, is_bytes, is_missing, parse_container

MOST_CHARACTERS = 2**16  # the most characters of the right values of one image
DEEPEST = 4  # the most levels of lists and objects; a list of objects with boxes has three


Feature = Any  # the type of a column in Hugging Face datasets, as JSON


def read_truth(cells: Mapping[str, Any], truth: Mapping[str, str], features: Mapping[str, Feature]) -> str | None:
    """The present right values by field, as JSON; None when the settings name no truth.

    `features` has the types by column. Numbers of classes become the names in it. Raises CellFault for a cell that no
    field can equal.
    """
    if not truth:
        return None
    values = {}
    for name, column in truth.items():
        try:
            value = _plain(_name_classes(cells.get(column), features.get(column)), DEEPEST)
        except CellFault as fault:
            raise CellFault(f"truth {column!r}: {fault}") from None
        if value is not None:
            values[name] = value
    written = json.dumps(values, ensure_ascii=False, allow_nan=False)
    if len(written) > MOST_CHARACTERS:
        raise CellFault(f"truth: of {len(written)} characters, more than {MOST_CHARACTERS}; leave columns out")
    return written


def _plain(value: Any, levels: int) -> Any:
    """The value as JSON types; None for a missing value. Reads lists and objects that are written as text."""
    if is_missing(value):
        return None
    if isinstance(value, str) or is_bytes(value):
        text = decode_text(value)
        container = parse_container(text)
        return text if container is None else _plain(container, levels)
    if isinstance(value, bool | int):
        return value
    if isinstance(value, Decimal):
        value = int(value) if value == value.to_integral_value() and abs(value) < 10**18 else float(value)
    if isinstance(value, float | int) and math.isfinite(value):
        return value
    if isinstance(value, list | tuple | dict) and levels:
        if isinstance(value, dict):
            return {str(key): _plain(item, levels - 1) for key, item in value.items()}
        return [_plain(item, levels - 1) for item in value]
    raise CellFault(f"{describe(value)}; write a text, a number, true or false, or a list of these")


def _name_classes(value: Any, feature: Feature) -> Any:
    """The value with names in place of the numbers of class labels. -1 means that there is no label."""
    if isinstance(feature, list) and len(feature) == 1:
        feature = {"feature": feature[0]}
    if not isinstance(feature, dict):
        return value
    names = feature.get("names") if feature.get("_type") == "ClassLabel" else None
    if isinstance(names, list) and type(value) is int:
        return names[value] if 0 <= value < len(names) else None if value == -1 else value
    inner = feature.get("feature", feature)
    if isinstance(value, dict) and isinstance(inner, dict):
        return {key: _name_classes(item, inner.get(key)) for key, item in value.items()}
    return [_name_classes(item, inner) for item in value] if isinstance(value, list) and inner is not feature else value
