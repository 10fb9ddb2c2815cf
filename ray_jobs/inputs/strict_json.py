"""Read untrusted JSON within bounds on its values, its depth and the length of its numbers.

Both planes read a checkpoint's JSON with this. A repeated key and text that cannot be encoded are refused. Whatever the
bytes are, `parse_object` takes bounded time and memory, because it counts the values before it parses them.
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
    """Returns the JSON object in the bytes, with at most `most_items` values.

    Raises NotJson if the bytes end early or are not JSON, and InputError if they break a bound. The text of either
    error continues a line that begins with the file's name.
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
    if b"\\u" in data:  # JSON can contain half a surrogate only as an escape
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise InputError("has half a surrogate in a text") from None
    return value


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns the object. Raises InputError for a repeated key, because two readers may take different values."""
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
