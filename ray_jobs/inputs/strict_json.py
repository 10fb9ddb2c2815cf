"""JSON that others wrote, read within bounds: so many bytes, values and levels, each key once, text that encodes.

Both planes read a checkpoint's JSON with it. `parse_object` costs time and memory in proportion to its bounds, whatever
the bytes are: they are counted before they are parsed.
"""

import json
from typing import Any, Never

from ray_jobs.inputs.errors import InputError

MAX_DEPTH = 64  # nested objects and arrays; a real config has less than ten
MAX_DIGITS = 40  # of an integer
MAX_FLOAT_CHARACTERS = 400  # a double needs 17 digits, but some writers give all of its decimals


class NotJson(ValueError):
    """The bytes are not JSON. An unfinished upload can be the cause."""


def parse_object(data: bytes, most_items: int) -> dict[str, Any]:
    """The JSON object in the bytes, of at most so many values.

    Raises NotJson for what ends early or is no JSON, InputError for JSON that nobody should read; the text of either
    follows a name.
    """
    if data.count(b",") + data.count(b"[") + data.count(b"{") > most_items:
        raise InputError(f"has more than {most_items} values")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":
            raise NotJson("ends inside a character") from None
        raise InputError("is not UTF-8 text") from None
    if text.startswith("\ufeff"):
        raise InputError("begins with a byte order mark, and transformers does not read that")
    try:
        value = json.loads(text, object_pairs_hook=_build_object, parse_int=_parse_integer, parse_float=_parse_float)
    except RecursionError:
        raise InputError(f"is nested more than {MAX_DEPTH} deep") from None
    except json.JSONDecodeError:
        raise NotJson("is not JSON (yet)") from None
    if not isinstance(value, dict):
        raise InputError("is not a JSON object")
    if _depth_exceeds(value, MAX_DEPTH):
        raise InputError(f"is nested more than {MAX_DEPTH} deep")
    if b"\\u" in data:  # the only way in JSON to write half a surrogate
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise InputError("has half a surrogate in a text") from None
    return value


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns the object. Refuses a key that is there twice, because two readers may take different values."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise InputError("has a key twice")
    return value


def _parse_integer(digits: str) -> int:
    return int(digits) if len(digits) <= MAX_DIGITS else _refuse_number(MAX_DIGITS)


def _parse_float(digits: str) -> float:
    return float(digits) if len(digits) <= MAX_FLOAT_CHARACTERS else _refuse_number(MAX_FLOAT_CHARACTERS)


def _refuse_number(most: int) -> Never:
    raise InputError(f"has a number of more than {most} characters")


def _depth_exceeds(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            inside
            for outer in level
            for inside in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inside, dict | list)
        ]
        if not level:
            return False
    return True
