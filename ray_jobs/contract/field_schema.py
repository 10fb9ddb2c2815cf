"""The JSON schema of `caption.fields`: the subset that is supported, and its complete form with every bound filled in.

Both planes import this, because a suite is checked where it is planned. A complete schema is a JSON schema too. The
grammar, the reader of answers and the Arrow types all go by it, and it alone enters the id of captions.

The subset: one object whose properties are a string (free, or one of an `enum`), an integer, a number, a boolean, a box
or an array of one of these, or an array of objects `{label, box}`. A box is an array of exactly four numbers: x1, y1,
x2, y2. Everything has bounds, so an answer always ends.
"""

import json
import re
from typing import Any

from ray_jobs.inputs import strict_json
from ray_jobs.inputs.errors import InputError, nearest
from ray_jobs.inputs.names import printable

SCHEMA_BYTES = 64 * 1024
MOST_VALUES = 5000
MOST_FIELDS = 32
MOST_CHOICES = 256
CHARACTERS, MOST_CHARACTERS = 256, 4096  # of a string: unless given, and at most
ITEMS, MOST_ITEMS = 16, 256  # of an array
FARTHEST = 10**9  # an integer or a number lies between minus this and this
BOX_ENDS = (0, 1000)  # unless given: thousandths of the image's width and height
ANSWER_CHARACTERS = 100_000  # of the longest answer that the bounds of a whole schema allow

CAPTION = "caption"  # the property that is the caption, where a schema has it
# The other columns of the parts of captions and of scores, and what metrics know an image by.
RESERVED = (
    "image_id", "finish_reason", "prompt_tokens", "tokens", "arrived", "finished", "failure", "detail", "answer",
    "invalid_fields", "row", "key", "text", "label", "references", "truth", "fields", "rationale",
)  # fmt: skip
NAME = re.compile("[A-Za-z_][A-Za-z0-9_]{0,62}", re.ASCII)

REMARKS = ("title", "description", "$comment", "$schema", "$id", "examples", "default")  # no part of what fits
KEYWORDS = {
    "string": ("enum", "minLength", "maxLength"),
    "integer": ("enum", "minimum", "maximum"),
    "number": ("minimum", "maximum"),
    "boolean": (),
    "array": ("items", "minItems", "maxItems"),
    "object": ("properties", "required", "additionalProperties"),
}
ADVICE = {
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


class NotSupported(ValueError):
    """A schema, or a part of it, is none of the subset; the text says which part, what of it, and the remedy."""


def read_schema(data: bytes) -> Schema:
    """The complete schema in the bytes of a file. Raises NotSupported."""
    try:
        return complete(strict_json.parse_object(data, MOST_VALUES))
    except strict_json.NotJson as error:
        raise NotSupported(f"{str(error).removesuffix(' (yet)')}; correct the file") from None
    except InputError as error:
        raise NotSupported(f"{error}; correct the file") from None


def complete(raw: Any) -> Schema:
    """The schema with every bound filled in and every remark left out; a complete one stays as it is.

    `required` names all properties in their order, which is the order of the answer. Raises NotSupported.
    """
    if not isinstance(raw, dict):
        raise NotSupported("must be a JSON schema, or the name of a .json file that holds one")
    _check_keywords(raw, "", "object")
    properties = _properties(raw, "")
    if len(properties) > MOST_FIELDS:
        raise NotSupported(f"has {len(properties)} properties, more than {MOST_FIELDS}; ask for fewer")
    completed = {}
    for name, inside in properties.items():
        _check_name(name)
        completed[name] = _complete_value(inside, name, ("array",))
    if completed.get(CAPTION, {"type": "string"})["type"] != "string":
        raise NotSupported(f"{CAPTION}: is the caption, so it must be a string; name the field otherwise")
    schema = _object(completed)
    if (characters := longest(schema)) > ANSWER_CHARACTERS:
        raise NotSupported(
            f"allows an answer of {characters} characters, more than {ANSWER_CHARACTERS}; lower its maxLength and "
            "maxItems"
        )
    if (size := len(json.dumps(schema))) > SCHEMA_BYTES:  # its grammar goes with every request
        raise NotSupported(f"has {size} bytes with its bounds, more than {SCHEMA_BYTES}; give fewer or shorter choices")
    return schema


def is_box(schema: Schema) -> bool:
    """Whether a complete schema is that of a box."""
    return _looks_like_a_box(schema)


def is_located(schema: Schema) -> bool:
    """Whether a complete schema is that of an object with a label and a box."""
    return bool(schema["type"] == "object")


def longest(schema: Schema) -> int:
    """How many characters the longest value has as JSON, nothing in its strings escaped."""
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
        return int(schema["maxItems"]) * (longest(schema["items"]) + 2) + 2
    return sum(len(name) + 6 + longest(inside) for name, inside in schema["properties"].items()) + 2


def _complete_value(raw: Any, where: str, further: tuple[str, ...]) -> Schema:
    """The complete schema of a value; `further` are the types it may have beside the simple ones."""
    if not isinstance(raw, dict):
        raise NotSupported(f"{where}: must be a schema, like {{type: string}}")
    kind = _type(raw, where)
    if kind in ("array", "object") and kind not in further and not _looks_like_a_box(raw):
        raise NotSupported(
            f"{where}: an {kind} cannot be here; a field is a string, integer, number, boolean, box or an array of "
            "these or of objects {label, box}"
        )
    _check_keywords(raw, where, kind)
    if "enum" in raw:
        return {"type": kind, "enum": _choices(raw, where, kind)}
    if kind == "string":
        low, high = _counts(raw, where, ("minLength", "maxLength"), CHARACTERS, MOST_CHARACTERS)
        return {"type": kind, "minLength": low, "maxLength": high}
    if kind in ("integer", "number"):
        low, high = _ends(raw, where, kind, (-FARTHEST, FARTHEST))
        return {"type": kind, "minimum": low, "maximum": high}
    if kind == "boolean":
        return {"type": kind}
    if kind == "object":
        return _complete_located(raw, where)
    return _box(raw, where) if _looks_like_a_box(raw) else _array(raw, where)


def _array(raw: Schema, where: str) -> Schema:
    if "items" not in raw:
        raise NotSupported(f"{where}: an array needs `items`, the schema of each")
    low, high = _counts(raw, where, ("minItems", "maxItems"), ITEMS, MOST_ITEMS)
    items = _complete_value(raw["items"], f"{where}.items", ("object",))
    return {"type": "array", "items": items, "minItems": low, "maxItems": high}


def _box(raw: Schema, where: str) -> Schema:
    items = raw["items"]
    kind = _type(items, f"{where}.items")
    _check_keywords(items, f"{where}.items", kind)
    if "enum" in items:
        raise NotSupported(f"{where}.items: the numbers of a box have no `enum`; give minimum and maximum")
    low, high = _ends(items, f"{where}.items", kind, BOX_ENDS)
    number = {"type": kind, "minimum": low, "maximum": high}
    return {"type": "array", "items": number, "minItems": 4, "maxItems": 4}


def _complete_located(raw: Schema, where: str) -> Schema:
    properties = _properties(raw, f"{where}: ")
    if set(properties) != {"label", "box"}:
        raise NotSupported(f"{where}: the objects of an array have two properties, label and box; correct it")
    completed = {name: _complete_value(inside, f"{where}.{name}", ()) for name, inside in properties.items()}
    if completed["label"]["type"] != "string" or not is_box(completed["box"]):
        raise NotSupported(f"{where}: its label must be a string and its box an array of four numbers")
    return _object(completed)


def _object(properties: Schema) -> Schema:
    # `required` keeps the order in an id, for which keys are sorted.
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False,
    }  # fmt: skip


def _properties(raw: Schema, where: str) -> Schema:
    properties = raw.get("properties")
    if raw.get("type", "object") != "object" or not isinstance(properties, dict) or not properties:
        raise NotSupported(f"{where}must be of type object and have `properties`, one for each field")
    if odd := next((name for name in properties if not isinstance(name, str)), None):
        raise NotSupported(f"{where}`properties` has the key {printable(repr(odd), 40)}; put it in quotes")
    required = raw.get("required", list(properties))
    if not isinstance(required, list) or sorted(map(str, required)) != sorted(properties):
        raise NotSupported(f"{where}`required` must name all properties, or be left out: a field always has a value")
    if raw.get("additionalProperties", False) is not False:
        raise NotSupported(f"{where}`additionalProperties` must be false, or be left out")
    return dict(properties)


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise NotSupported(f"{printable(name, 60)!r}: a field's name is up to 63 letters, digits and _; rename it")
    if name in RESERVED:
        raise NotSupported(f"{name}: is a column of the captions already; rename the field")


def _check_keywords(raw: Schema, where: str, kind: str) -> None:
    prefix = f"{where}: " if where else ""
    known = ("type", *KEYWORDS[kind], *REMARKS)
    for keyword in raw:
        if keyword not in known:
            shown = printable(str(keyword), 40)
            remedy = f"; {ADVICE[shown]}" if shown in ADVICE else nearest(shown, [*KEYWORDS[kind], "type"])
            raise NotSupported(f"{prefix}`{shown}` is not supported here{remedy}")


def _type(raw: Any, where: str) -> str:
    if not isinstance(raw, dict):
        raise NotSupported(f"{where}: must be a schema, like {{type: string}}")
    if (refused := next((keyword for keyword in ADVICE if keyword in raw), None)) and "type" not in raw:
        raise NotSupported(f"{where}: `{refused}` is not supported here; {ADVICE[refused]}")
    kind = raw.get("type")
    if isinstance(kind, list):
        raise NotSupported(f"{where}: has several types; give one, for a field always has a value of it")
    if not isinstance(kind, str) or kind not in KEYWORDS:
        shown = f"{printable(kind, 40)!r}" if isinstance(kind, str) else "none"
        raise NotSupported(f"{where}: its type is {shown}; give one of {', '.join(KEYWORDS)}")
    return kind


def _choices(raw: Schema, where: str, kind: str) -> list[Any]:
    choices, python = raw["enum"], {"string": str, "integer": int}[kind]
    if others := [keyword for keyword in KEYWORDS[kind] if keyword != "enum" and keyword in raw]:
        raise NotSupported(f"{where}: has an `enum`, so `{others[0]}` does nothing; leave it out")
    if not isinstance(choices, list) or not 1 <= len(choices) <= MOST_CHOICES:
        raise NotSupported(f"{where}: `enum` must be a list of 1 to {MOST_CHOICES} values")
    for choice in choices:
        if type(choice) is not python:
            raise NotSupported(f"{where}: `enum` holds {printable(repr(choice), 40)}, which is no {kind}; correct it")
        if isinstance(choice, str) and (len(choice) > CHARACTERS or not _is_plain(choice)):
            raise NotSupported(
                f"{where}: `enum` holds {printable(choice, 40)!r}; give values of up to {CHARACTERS} visible characters"
            )
        if isinstance(choice, int) and abs(choice) > FARTHEST:
            raise NotSupported(f"{where}: `enum` holds {choice:.3g}, beyond {FARTHEST}; correct it")
    if len(set(choices)) != len(choices):
        raise NotSupported(f"{where}: `enum` holds a value twice; leave one out")
    return list(choices)


def _is_plain(text: str) -> bool:
    return printable(text, len(text)) == text


def _counts(raw: Schema, where: str, names: tuple[str, str], unless_given: int, most: int) -> tuple[int, int]:
    """Least and most characters or items."""
    low = raw.get(names[0], 0)
    high = raw.get(names[1], max(unless_given, low) if type(low) is int else unless_given)
    for name, value in zip(names, (low, high), strict=True):
        if type(value) is not int or not 0 <= value <= most:
            shown = printable(repr(value), 40)
            raise NotSupported(f"{where}: `{name}` must be a whole number from 0 to {most}, not {shown}")
    if low > high:
        raise NotSupported(f"{where}: `{names[0]}` {low} is over `{names[1]}` {high}; correct them")
    return low, high


def _ends(raw: Schema, where: str, kind: str, unless_given: tuple[int, int]) -> tuple[Any, Any]:
    """The least and the largest number."""
    low, high = (raw.get(name, end) for name, end in zip(("minimum", "maximum"), unless_given, strict=True))
    for name, value in (("minimum", low), ("maximum", high)):
        is_whole = type(value) is int or (type(value) is float and kind == "number")
        if not is_whole or not -FARTHEST <= value <= FARTHEST:
            noun = "a whole number" if kind == "integer" else "a number"
            demand = f"must be {noun} from {-FARTHEST} to {FARTHEST}, not {printable(repr(value), 40)}"
            raise NotSupported(f"{where}: `{name}` {demand}")
    if low > high:
        raise NotSupported(f"{where}: `minimum` {low} is over `maximum` {high}; correct them")
    return low, high


def _looks_like_a_box(raw: Schema) -> bool:
    exact = raw.get("minItems") == raw.get("maxItems") == 4
    return exact and raw.get("type") == "array" and _is_number(raw.get("items"))


def _is_number(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") in ("integer", "number")
