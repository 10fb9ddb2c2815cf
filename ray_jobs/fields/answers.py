"""Read an answer of the model as fields: the values that the schema allows, or the reason why the answer does not fit.

The grammar does not guarantee a valid answer: vLLM cuts an answer off at max_tokens, the corners of a box may be
swapped, and an engine may have a fault. So every answer is checked as if there were no grammar.
`columns` and `truth` call this module.
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ray_jobs.contract.field_schema import CAPTION, Schema, is_box
from ray_jobs.inputs import strict_json
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable

MOST_VALUES = 100_000
SHOWN = 40  # characters of a value in a detail
CUT_OFF, NOT_JSON, OTHER_FIELDS, WRONG_TYPE, OUT_OF_RANGE, BOX_CORNERS = (
    "cut-off", "not-json", "other-fields", "wrong-type", "out-of-range", "box-corners",
)  # fmt: skip


class DoesNotFit(ValueError):
    """A value that the schema does not allow. `reason` is the kind of the fault, and the message describes it."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True)
class AnswerFields:
    """The content of an answer.

    `values` holds every field of the schema, or nothing if the answer does not fit. Then `reason` and `detail` are set.
    `caption` is the property of that name if the schema has one, else the answer itself.
    """

    caption: str
    values: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    detail: str | None = None


def read_answer(schema: Schema, answer: str, finish_reason: str | None, max_tokens: int) -> AnswerFields:
    """Return the fields of one answer. An answer that does not fit is returned with its reason, not raised."""
    try:
        try:
            values = check_value(schema, strict_json.parse_object(answer.encode("utf-8", "surrogatepass"), MOST_VALUES))
        except (strict_json.NotJson, InputError) as error:
            detail = str(error).removesuffix(" (yet)")
            raise DoesNotFit(NOT_JSON, f"the answer {detail}: {printable(answer, SHOWN)}") from None
    except DoesNotFit as fault:
        if finish_reason == "length":
            detail = f"cut off at max_tokens {max_tokens}; raise it, or lower the schema's maxLength and maxItems"
            return AnswerFields(answer, reason=CUT_OFF, detail=detail)
        return AnswerFields(answer, reason=fault.reason, detail=str(fault))
    return AnswerFields(values.get(CAPTION, answer), values)


def check_value(schema: Schema, value: Any, where: str = "") -> Any:
    """Return the value, with a whole number as a float if the schema says number. Raises DoesNotFit."""
    kind = schema["type"]
    if kind == "object":
        return _check_object(schema, value, where)
    if kind == "array":
        return _check_array(schema, value, where)
    python = {"string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,)}[kind]
    if type(value) not in python:
        raise DoesNotFit(WRONG_TYPE, f"{where} is {_show_value(value)}, not a value of type {kind}")
    if "enum" in schema:
        if value not in schema["enum"]:
            raise DoesNotFit(OUT_OF_RANGE, f"{where} is {_show_value(value)}, which is none of its enum")
    elif kind == "string":
        _check_size(len(value), schema["minLength"], schema["maxLength"], where, "characters")
    elif kind != "boolean" and not (math.isfinite(value) and schema["minimum"] <= value <= schema["maximum"]):
        ends = f"{schema['minimum']} to {schema['maximum']}"
        raise DoesNotFit(OUT_OF_RANGE, f"{where} is {_show_value(value)}, not from {ends}")
    return float(value) if kind == "number" else value


def _check_object(schema: Schema, value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DoesNotFit(WRONG_TYPE, f"{where} is {_show_value(value)}, not an object")
    names = list(schema["properties"])
    if set(value) != set(names):
        odd = next(iter(sorted(set(value) ^ set(names), key=str)))
        detail = f"{where or 'the answer'} has {'no' if odd in names else 'another'} property {_show_value(odd)}"
        raise DoesNotFit(OTHER_FIELDS, detail)
    prefix = f"{where}." if where else ""
    return {name: check_value(schema["properties"][name], value[name], f"{prefix}{name}") for name in names}


def _check_array(schema: Schema, value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise DoesNotFit(WRONG_TYPE, f"{where} is {_show_value(value)}, not an array")
    _check_size(len(value), schema["minItems"], schema["maxItems"], where, "items")
    items = [check_value(schema["items"], item, f"{where}[{number}]") for number, item in enumerate(value)]
    if is_box(schema) and not (items[0] <= items[2] and items[1] <= items[3]):
        raise DoesNotFit(BOX_CORNERS, f"{where} is {_show_value(items)}, not x1, y1, x2, y2 with x1 <= x2 and y1 <= y2")
    return items


def _check_size(size: int, low: int, high: int, where: str, what: str) -> None:
    if not low <= size <= high:
        raise DoesNotFit(OUT_OF_RANGE, f"{where} has {size} {what}, not {low} to {high}")


def _show_value(value: Any) -> str:
    return printable(repr(value), SHOWN)


def count_fits(read: list[AnswerFields]) -> dict[str, Any]:
    """Return the count of valid answers, and the counts of invalid answers by reason."""
    reasons = Counter(fields.reason for fields in read if fields.reason)
    return {"valid": len(read) - reasons.total(), "invalid": dict(sorted(reasons.items()))}
