"""Check the JSON schema of `caption.fields`, and fill in its bounds.

The model of a suite calls this in both planes. The result is called a complete schema, and it is a JSON schema too. The
grammar, the reader of answers and the Arrow types follow the complete schema. Only it enters the id of captions.

Assay supports a subset of JSON schema: one object with one property per field. A field is a string (free text, or one
of an `enum`), an integer, a number, a boolean, a box, an array of one of these, or an array of objects `{label, box}`.
A box is an array of exactly four numbers: x1, y1, x2, y2. Every value has bounds, so an answer always ends.
"""

import json
import re
from typing import Any

from ray_jobs.inputs import strict_json
from ray_jobs.inputs.errors import InputError, suggest
from ray_jobs.inputs.names import printable

SCHEMA_BYTES = 64 * 1024
MAX_VALUES = 5000
MAX_FIELDS = 32
MAX_CHOICES = 256
DEFAULT_CHARACTERS, MAX_CHARACTERS = 256, 4096  # of a string
DEFAULT_ITEMS, MAX_ITEMS = 16, 256  # of an array
MAX_NUMBER = 10**9  # and -MAX_NUMBER is the smallest number
BOX_RANGE = (0, 1000)  # the default: thousandths of the image's width and height
MAX_ANSWER_CHARACTERS = 100_000  # of the longest answer that a schema allows

CAPTION = "caption"  # the property that holds the caption; a schema need not have it
# Other columns in the parts of captions and of scores, and names that metrics use for an image. No field has them.
RESERVED = (
    "image_id", "finish_reason", "prompt_tokens", "tokens", "arrived", "finished", "failure", "detail", "answer",
    "invalid_fields", "row", "key", "text", "label", "references", "truth", "fields", "rationale",
)  # fmt: skip
NAME = re.compile("[A-Za-z_][A-Za-z0-9_]{0,62}", re.ASCII)

ANNOTATIONS = ("title", "description", "$comment", "$schema", "$id", "examples", "default")  # they change no answer
KEYWORDS = {
    "string": ("enum", "minLength", "maxLength"),
    "integer": ("enum", "minimum", "maximum"),
    "number": ("minimum", "maximum"),
    "boolean": (),
    "array": ("items", "minItems", "maxItems"),
    "object": ("properties", "required", "additionalProperties"),
}
REMEDIES = {
    "$ref": "write the schema out where it is used",
    "$defs": "write each schema out where it is used",
    "definitions": "write each schema out where it is used",
    "pattern": "a pattern can take forever; give `enum` or `maxLength`",
    "format": "give `enum` or `maxLength`",
    "const": "give an `enum` of one value",
    "nullable": "a field always has a value; give `enum` one that means none",
    "prefixItems": "all items of an array are of one schema, `items`",
}  # fmt: skip

Schema = dict[str, Any]


class SchemaError(ValueError):
    """A schema is not in the supported subset. The text names the part, its fault and the remedy."""


def read_schema(data: bytes) -> Schema:
    """Returns the complete schema from the bytes of a file. Raises SchemaError."""
    try:
        return complete_schema(strict_json.parse_object(data, MAX_VALUES))
    except strict_json.NotJson as error:
        raise SchemaError(f"{str(error).removesuffix(' (yet)')}; correct the file") from None
    except InputError as error:
        raise SchemaError(f"{error}; correct the file") from None


def complete_schema(raw: Any) -> Schema:
    """Returns the schema with all bounds and without annotations. A complete schema does not change.

    `required` names all properties in their order, which is the order of the answer. Raises SchemaError.
    """
    if not isinstance(raw, dict):
        raise SchemaError("must be a JSON schema, or the name of a .json file that holds one")
    _check_keywords(raw, "", "object")
    properties = _read_properties(raw, "")
    if len(properties) > MAX_FIELDS:
        raise SchemaError(f"has {len(properties)} properties, more than {MAX_FIELDS}; ask for fewer")
    completed = {}
    for name, value_schema in properties.items():
        _check_name(name)
        completed[name] = _complete_value(value_schema, name, ("array",))
    if completed.get(CAPTION, {"type": "string"})["type"] != "string":
        raise SchemaError(f"{CAPTION}: is the caption, so it must be a string; name the field otherwise")
    schema = _build_object(completed)
    if (characters := max_length(schema)) > MAX_ANSWER_CHARACTERS:
        raise SchemaError(
            f"allows an answer of {characters} characters, more than {MAX_ANSWER_CHARACTERS}; lower its maxLength and "
            "maxItems"
        )
    if (size := len(json.dumps(schema))) > SCHEMA_BYTES:  # every request carries its grammar
        raise SchemaError(f"has {size} bytes with its bounds, more than {SCHEMA_BYTES}; give fewer or shorter choices")
    return schema


def is_box(schema: Schema) -> bool:
    """Whether a complete schema describes a box."""
    return _has_box_form(schema)


def is_located(schema: Schema) -> bool:
    """Whether a complete schema describes an object with a label and a box."""
    return bool(schema["type"] == "object")


def max_length(schema: Schema) -> int:
    """Returns the characters of the longest value as JSON, if no character in its strings is escaped."""
    if "enum" in schema:
        return max(len(str(choice)) for choice in schema["enum"]) + 2
    kind = schema["type"]
    if kind == "string":
        return int(schema["maxLength"]) + 2
    if kind in ("integer", "number"):
        return max(len(str(int(schema[end]))) for end in ("minimum", "maximum")) + (8 if kind == "number" else 0)
    if kind == "boolean":
        return 5
    if kind == "array":
        return int(schema["maxItems"]) * (max_length(schema["items"]) + 2) + 2
    return sum(len(name) + 6 + max_length(value_schema) for name, value_schema in schema["properties"].items()) + 2


def _complete_value(raw: Any, where: str, compound_types: tuple[str, ...]) -> Schema:
    """Returns the complete schema of a value. It may have a simple type or one of `compound_types`."""
    if not isinstance(raw, dict):
        raise SchemaError(f"{where}: must be a schema, like {{type: string}}")
    kind = _read_type(raw, where)
    if kind in ("array", "object") and kind not in compound_types and not _has_box_form(raw):
        raise SchemaError(
            f"{where}: an {kind} cannot be here; a field is a string, integer, number, boolean, box or an array of "
            "these or of objects {label, box}"
        )
    _check_keywords(raw, where, kind)
    if "enum" in raw:
        return {"type": kind, "enum": _read_choices(raw, where, kind)}
    if kind == "string":
        low, high = _read_counts(raw, where, ("minLength", "maxLength"), DEFAULT_CHARACTERS, MAX_CHARACTERS)
        return {"type": kind, "minLength": low, "maxLength": high}
    if kind in ("integer", "number"):
        low, high = _read_range(raw, where, kind, (-MAX_NUMBER, MAX_NUMBER))
        return {"type": kind, "minimum": low, "maximum": high}
    if kind == "boolean":
        return {"type": kind}
    if kind == "object":
        return _complete_located_object(raw, where)
    return _complete_box(raw, where) if _has_box_form(raw) else _complete_array(raw, where)


def _complete_array(raw: Schema, where: str) -> Schema:
    if "items" not in raw:
        raise SchemaError(f"{where}: an array needs `items`, the schema of each")
    low, high = _read_counts(raw, where, ("minItems", "maxItems"), DEFAULT_ITEMS, MAX_ITEMS)
    items = _complete_value(raw["items"], f"{where}.items", ("object",))
    return {"type": "array", "items": items, "minItems": low, "maxItems": high}


def _complete_box(raw: Schema, where: str) -> Schema:
    items = raw["items"]
    kind = _read_type(items, f"{where}.items")
    _check_keywords(items, f"{where}.items", kind)
    if "enum" in items:
        raise SchemaError(f"{where}.items: the numbers of a box have no `enum`; give minimum and maximum")
    low, high = _read_range(items, f"{where}.items", kind, BOX_RANGE)
    number = {"type": kind, "minimum": low, "maximum": high}
    return {"type": "array", "items": number, "minItems": 4, "maxItems": 4}


def _complete_located_object(raw: Schema, where: str) -> Schema:
    properties = _read_properties(raw, f"{where}: ")
    if set(properties) != {"label", "box"}:
        raise SchemaError(f"{where}: the objects of an array have two properties, label and box; correct it")
    completed = {
        name: _complete_value(value_schema, f"{where}.{name}", ()) for name, value_schema in properties.items()
    }
    if completed["label"]["type"] != "string" or not is_box(completed["box"]):
        raise SchemaError(f"{where}: its label must be a string and its box an array of four numbers")
    return _build_object(completed)


def _build_object(properties: Schema) -> Schema:
    # An id is a hash of sorted keys, so only `required` keeps the order of the properties in it.
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False,
    }  # fmt: skip


def _read_properties(raw: Schema, where: str) -> Schema:
    properties = raw.get("properties")
    if raw.get("type", "object") != "object" or not isinstance(properties, dict) or not properties:
        raise SchemaError(f"{where}must be of type object and have `properties`, one for each field")
    if odd := next((name for name in properties if not isinstance(name, str)), None):
        raise SchemaError(f"{where}`properties` has the key {printable(repr(odd), 40)}; put it in quotes")
    required = raw.get("required", list(properties))
    if not isinstance(required, list) or sorted(map(str, required)) != sorted(properties):
        raise SchemaError(f"{where}`required` must name all properties, or be left out: a field always has a value")
    if raw.get("additionalProperties", False) is not False:
        raise SchemaError(f"{where}`additionalProperties` must be false, or be left out")
    return dict(properties)


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise SchemaError(f"{printable(name, 60)!r}: a field's name is up to 63 letters, digits and _; rename it")
    if name in RESERVED:
        raise SchemaError(f"{name}: is a column of the captions already; rename the field")


def _check_keywords(raw: Schema, where: str, kind: str) -> None:
    prefix = f"{where}: " if where else ""
    known = ("type", *KEYWORDS[kind], *ANNOTATIONS)
    for keyword in raw:
        if keyword not in known:
            shown = printable(str(keyword), 40)
            remedy = f"; {REMEDIES[shown]}" if shown in REMEDIES else suggest(shown, [*KEYWORDS[kind], "type"])
            raise SchemaError(f"{prefix}`{shown}` is not supported here{remedy}")


def _read_type(raw: Any, where: str) -> str:
    if not isinstance(raw, dict):
        raise SchemaError(f"{where}: must be a schema, like {{type: string}}")
    if (refused := next((keyword for keyword in REMEDIES if keyword in raw), None)) and "type" not in raw:
        raise SchemaError(f"{where}: `{refused}` is not supported here; {REMEDIES[refused]}")
    kind = raw.get("type")
    if isinstance(kind, list):
        raise SchemaError(f"{where}: has several types; give one, for a field always has a value of it")
    if not isinstance(kind, str) or kind not in KEYWORDS:
        shown = f"{printable(kind, 40)!r}" if isinstance(kind, str) else "none"
        raise SchemaError(f"{where}: its type is {shown}; give one of {', '.join(KEYWORDS)}")
    return kind


def _read_choices(raw: Schema, where: str, kind: str) -> list[Any]:
    choices, python_type = raw["enum"], {"string": str, "integer": int}[kind]
    if ignored := [keyword for keyword in KEYWORDS[kind] if keyword != "enum" and keyword in raw]:
        raise SchemaError(f"{where}: has an `enum`, so `{ignored[0]}` does nothing; leave it out")
    if not isinstance(choices, list) or not 1 <= len(choices) <= MAX_CHOICES:
        raise SchemaError(f"{where}: `enum` must be a list of 1 to {MAX_CHOICES} values")
    for choice in choices:
        if type(choice) is not python_type:
            raise SchemaError(f"{where}: `enum` holds {printable(repr(choice), 40)}, which is no {kind}; correct it")
        if isinstance(choice, str) and (len(choice) > DEFAULT_CHARACTERS or not _is_plain(choice)):
            raise SchemaError(
                f"{where}: `enum` holds {printable(choice, 40)!r}; give values of up to {DEFAULT_CHARACTERS} visible "
                "characters"
            )
        if isinstance(choice, int) and abs(choice) > MAX_NUMBER:
            raise SchemaError(f"{where}: `enum` holds {choice:.3g}, beyond {MAX_NUMBER}; correct it")
    if len(set(choices)) != len(choices):
        raise SchemaError(f"{where}: `enum` holds a value twice; leave one out")
    return list(choices)


def _is_plain(text: str) -> bool:
    return printable(text, len(text)) == text


def _read_counts(raw: Schema, where: str, names: tuple[str, str], default: int, most: int) -> tuple[int, int]:
    """Returns the smallest and the largest number of characters or items."""
    low = raw.get(names[0], 0)
    high = raw.get(names[1], max(default, low) if type(low) is int else default)
    for name, value in zip(names, (low, high), strict=True):
        if type(value) is not int or not 0 <= value <= most:
            shown = printable(repr(value), 40)
            raise SchemaError(f"{where}: `{name}` must be a whole number from 0 to {most}, not {shown}")
    if low > high:
        raise SchemaError(f"{where}: `{names[0]}` {low} is over `{names[1]}` {high}; correct them")
    return low, high


def _read_range(raw: Schema, where: str, kind: str, default: tuple[int, int]) -> tuple[Any, Any]:
    """Returns the smallest and the largest value of a number."""
    low, high = (raw.get(name, end) for name, end in zip(("minimum", "maximum"), default, strict=True))
    for name, value in (("minimum", low), ("maximum", high)):
        is_whole = type(value) is int or (type(value) is float and kind == "number")
        if not is_whole or not -MAX_NUMBER <= value <= MAX_NUMBER:
            noun = "a whole number" if kind == "integer" else "a number"
            demand = f"must be {noun} from {-MAX_NUMBER} to {MAX_NUMBER}, not {printable(repr(value), 40)}"
            raise SchemaError(f"{where}: `{name}` {demand}")
    if low > high:
        raise SchemaError(f"{where}: `minimum` {low} is over `maximum` {high}; correct them")
    return low, high


def _has_box_form(raw: Schema) -> bool:
    exact = raw.get("minItems") == raw.get("maxItems") == 4
    return exact and raw.get("type") == "array" and _is_number(raw.get("items"))


def _is_number(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") in ("integer", "number")
