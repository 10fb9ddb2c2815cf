"""What a cell of a table may hold: an image or the place of one, a label, references."""

import math
from typing import Any


def image_cell(value: Any) -> bytes | str | None:
    """The bytes of an image, or the path or URL it lies at, or None for an empty cell.

    `value` is bytes, a text, or the `{'bytes', 'path'}` struct of Hugging Face datasets.
    """
    if isinstance(value, dict):
        held = value.get("bytes")
        value = held if held is not None else value.get("path")
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    return (str(value).strip() or None) if value is not None else None


def texts(value: Any) -> list[str]:
    """A row's references, whether it has one text, a list of them or none."""
    if value is None or value == "":
        return []
    if isinstance(value, list | tuple):
        return [printable(text) for text in value if text is not None]
    return [printable(value)]


def label_text(value: Any) -> str | None:
    """A label as the source writes it; whole numbers without the `.0` that tables with gaps give them."""
    if isinstance(value, float):
        if math.isnan(value):
            return None
        value = int(value) if value.is_integer() else value
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    return printable(value).strip() or None if value is not None else None


def printable(value: Any) -> str:
    """The text with whatever UTF-8 cannot hold written out: names of files may be any bytes, tables may not."""
    return str(value).encode("utf-8", "backslashreplace").decode()
