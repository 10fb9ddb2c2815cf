"""Read the text in a cell, and lists or objects that are written as text. `cells.values` decides which cells are valid.

Invariant: nothing here turns a value into its Python form, because the Python form of a number, an object or bytes is
never a caption.
"""

import ast
import json
import math
import re
from decimal import Decimal
from typing import Any

from ray_jobs.inputs import names

MOST_CHARACTERS = 2**20  # the most characters of a list written as text
MOST_ITEMS = 10_000
DEEPEST = 16
MISSING = frozenset({"nan", "NaN", "NaT", "<NA>"})  # pandas writes these for a missing cell in a column of texts
STRING = r"[bBuU]?'(?:[^'\\]|\\.)*'|[bBuU]?\"(?:[^\"\\]|\\.)*\""
STRING_OR_MISSING = re.compile(rf"({STRING})|\b(?:nan|NaN|NaT|null)\b|<NA>", re.DOTALL)
LITERAL = re.compile(r"(?:[\[\](){},:\sS0-9.+\-eE]|None|True|False)*")
BEGINS_LIKE_A_LIST = re.compile(r"[\[{(][\[{(\s]*[bBuU]?['\"]")
ARRAY = re.compile(r"(?:np\.|numpy\.)?(?:array|Series|tensor)\(\s*\[.*\)", re.DOTALL)


class CellFault(ValueError):
    """A cell that cannot be read. The text has the fault and the remedy, and follows the column's name and a colon."""


def is_missing(value: Any) -> bool:
    """True if a cell is empty: no value, not a number, an empty text, or pandas' text for a missing cell."""
    if isinstance(value, float):
        return math.isnan(value)
    if isinstance(value, Decimal):
        return value.is_nan()
    if isinstance(value, str):
        return not (text := value.removeprefix("\ufeff").strip()) or text in MISSING
    return value is None or (is_bytes(value) and not bytes(value).strip())


def is_bytes(value: Any) -> bool:
    """True for the types of bytes that tables hold."""
    return isinstance(value, bytes | bytearray | memoryview)


def decode_text(value: Any) -> str:
    """The text, or the text in UTF-8 bytes, without a byte order mark.

    Raises CellFault for bytes of another encoding, and for a text with null bytes.
    """
    if is_bytes(value):
        try:
            value = bytes(value).decode()
        except UnicodeDecodeError:
            raise CellFault("bytes that are no UTF-8 text; save it as UTF-8") from None
    if "\0" in value:
        raise CellFault("a text with null bytes in it, as UTF-16 has; save it as UTF-8")
    return escape_unencodable(value.removeprefix("\ufeff"))


def escape_unencodable(text: str) -> str:
    """The text, with an escape for every character that UTF-8 cannot encode.

    Names of files may be any bytes, but texts in tables may not.
    """
    return text.encode("utf-8", "backslashreplace").decode()


def parse_container(text: str) -> list[Any] | dict[str, Any] | None:
    """The list or object that a text contains in JSON or Python form; None for any other text.

    Raises CellFault for a text that looks like a list of texts but cannot be read. numpy, for example, writes no
    commas.
    """
    text = text.strip()
    if ARRAY.fullmatch(text):
        raise CellFault(f"an array written as text, {names.excerpt(text, 40)}; write a list")
    if len(text) < 2 or text[0] + text[-1] not in ("[]", "{}", "()"):
        return None
    written = bool(BEGINS_LIKE_A_LIST.match(text))
    if len(text) > MOST_CHARACTERS:
        raise CellFault(f"a list or object of {len(text)} characters written as text, over {MOST_CHARACTERS}")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = _parse_python(text) if written or text[0] == "[" else None
    if isinstance(value, list | dict | tuple):
        return list(value) if isinstance(value, tuple) else value
    if written and text[0] != "(":
        raise CellFault(f"a list written as text that cannot be read, {names.excerpt(text, 40)}; write it as JSON")
    return None


def _parse_python(text: str) -> Any:
    """The value of a Python literal; None for any other text. Two strings side by side are not a literal here."""
    text = STRING_OR_MISSING.sub(lambda match: match[1] or "None", text)
    skeleton = re.sub(STRING, "S", text, flags=re.DOTALL)
    if not LITERAL.fullmatch(skeleton) or re.search(r"S\s*S", skeleton) or "..." in skeleton:
        return None
    if skeleton.count(",") > MOST_ITEMS or sum(map(skeleton.count, "[{(")) > MOST_ITEMS or _depth(skeleton) > DEEPEST:
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _depth(skeleton: str) -> int:
    depth = deepest = 0
    for sign in skeleton:
        depth += (sign in "[{(") - (sign in "]})")
        deepest = max(deepest, depth)
    return deepest


def describe(value: Any) -> str:
    """A description of a value for a message: the keys of an object, or a number; never the content of bytes."""
    if isinstance(value, dict):
        return f"an object ({{{_keys(value)}}})"
    if is_bytes(value):
        return "bytes"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, bool | int | float | Decimal):
        return f"a number ({names.printable(format(value), 20)})"
    if isinstance(value, str):
        return f"a text ({names.excerpt(value, 40)})"
    return f"a {type(value).__name__}"


def _keys(struct: dict[Any, Any]) -> str:
    keys = ", ".join(names.printable(key, 20) for key in list(struct)[:4] if isinstance(key, str))
    return f"{keys}, ..." if len(struct) > 4 else keys
