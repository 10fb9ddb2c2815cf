"""Read the references and the label in a cell of any source; `cells.images` reads the image.

Every source calls this. No other code makes texts of the cells of a source. A reference is a text or a list of texts. A
label is a text, a number, a bool or a list of those. Any other value raises CellFault, which rejects only its own row.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from ray_jobs.sources.cells.texts import (
    CellFault,
    decode_text,
    describe,
    is_bytes,
    is_missing,
    parse_container,
)
from ray_jobs.sources.cells.truth import read_truth

SEPARATOR = "\x1f"  # separates the labels of a row in one text
TEXTS = ("caption", "captions", "raw", "text", "value", "sentence", "sentences", "answer", "description")
LABELS = ("name", "label", "class", "category", "text", "value")
NO_TEXTS = (
    "key",
    "lang",
    "language",
    "split",
    "source",
    "role",
    "from",
    "type",
    "url",
    "uri",
    "path",
    "license",
    "hash",
)
WHOLE = re.compile(r"\A(-?\d+)\.0+\Z")  # a whole number that pandas wrote as a text
ASSISTANTS = ("gpt", "assistant", "model", "bot", "chatgpt")
REMEDY = "name a column of texts"


@dataclass(frozen=True)
class RowTexts:
    """The texts of a row about its image. If `fault` is set, the row cannot be used and all other fields are empty.

    `truth` is JSON; None when the settings name no truth.
    """

    label: str | None = None
    references: list[str] = field(default_factory=list)
    fault: str = ""
    truth: str | None = None


def read_texts(
    cells: Mapping[str, Any],
    label: str | None,
    references: str | None,
    truth: Mapping[str, str] | None = None,
    features: Mapping[str, Any] | None = None,
) -> RowTexts:
    """The label, the references and the right values of fields, from the cells of the named columns.

    `features` has the types that Hugging Face datasets give to columns of right values.
    """
    column = f"label {label!r}: "
    try:
        label_text = read_label(cells.get(label)) if label else None
        column = f"references {references!r}: "
        reference_texts = read_references(cells.get(references)) if references else []
        column = ""
        return RowTexts(label_text, reference_texts, truth=read_truth(cells, truth or {}, features or {}))
    except CellFault as fault:
        return RowTexts(fault=f"{column}{fault}")


def read_references(value: Any) -> list[str]:
    """The texts in a cell. Raises CellFault unless it is a text, a list of texts, or clearly contains a text."""
    if isinstance(value, str) or is_bytes(value):
        if is_missing(value):
            return []
        text = decode_text(value)
        container = parse_container(text)
        if container is None or _is_only_numbers(container):
            return [text]
        value = container
    if isinstance(value, list | tuple):
        if value and all(map(_speaker, value)):
            return _read_assistant_answer(list(value))
        return [text for item in value for text in _read_item(item)]
    return _read_item(value)


def read_label(value: Any) -> str | None:
    """The label in a cell as the source writes it; None without a label. SEPARATOR separates several labels.

    Whole numbers lose the `.0` that tables with gaps give them. Raises CellFault for a value that cannot be a label.
    """
    if isinstance(value, str) or is_bytes(value):
        if is_missing(value):
            return None
        text = decode_text(value).strip()
        container = parse_container(text)
        if container is None:
            return WHOLE.sub(r"\1", text.replace(SEPARATOR, " "))
        value = container
    if isinstance(value, dict):
        value = _read_struct(value, LABELS, "write the label as a text or number")
    if not isinstance(value, list | tuple):
        return _label_text(value)
    items = [_read_struct(item, LABELS, "write labels as texts") if isinstance(item, dict) else item for item in value]
    labels = [label for item in items if (label := _label_text(item)) is not None]
    if any(isinstance(item, float) and not item.is_integer() and item == item for item in items):
        raise CellFault(f"a list of {len(items)} numbers with decimals, as scores are; write the row's id or name")
    if len(labels) > 2 and len(set(labels)) < len(labels) and {"0", "1", "True", "False"} >= set(labels):
        raise CellFault(f"{len(labels)} times 0 or 1, as if one-hot; write the ids or names of the row's labels")
    return SEPARATOR.join(dict.fromkeys(labels)) or None


def _label_text(value: Any) -> str | None:
    if is_missing(value):
        return None
    if isinstance(value, str) or is_bytes(value):
        return decode_text(value).strip().replace(SEPARATOR, " ") or None
    if isinstance(value, bool | int):
        return format(value, "")
    if isinstance(value, float):
        return format(int(value) if value.is_integer() else value, "")
    if isinstance(value, Decimal) and value.is_finite() and abs(value.adjusted()) < 40:
        return format(value.normalize(), "f")
    raise CellFault(f"{describe(value)}; write it as a text or number")


def _read_item(value: Any) -> list[str]:
    """The texts of one reference: a text, or the text or list of texts in an object."""
    if is_missing(value):
        return []
    if isinstance(value, str) or is_bytes(value):
        return [decode_text(value)]
    if not isinstance(value, dict):
        raise CellFault(f"{describe(value)}{' in a list' * isinstance(value, list | tuple)}; {REMEDY}")
    if _speaker(value):
        return _read_assistant_answer([value])
    for name in ("conversations", "conversation", "messages"):
        if isinstance(value.get(name), list):
            return _read_assistant_answer([turn for turn in value[name] if _speaker(turn)])
    chosen = _read_struct(value, TEXTS, REMEDY)
    return [text for item in (chosen if isinstance(chosen, list | tuple) else [chosen]) for text in _read_text(item)]


def _read_text(value: Any) -> list[str]:
    if is_missing(value):
        return []
    if isinstance(value, str) or is_bytes(value):
        return [decode_text(value)]
    raise CellFault(f"{describe(value)} inside an object; {REMEDY}")


def _read_struct(struct: dict[str, Any], preferred: tuple[str, ...], remedy: str) -> Any:
    """The value of the field that contains the text: a field with a known name, else the only possible field.

    Raises CellFault when there is not exactly one such field.
    """
    present = [name for name in preferred if name in struct]
    filled = [name for name in present if not is_missing(struct[name])]
    if len(filled) == 1:
        return struct[filled[0]]
    if present and not filled:
        return None
    rest = {name: value for name, value in struct.items() if not is_missing(value)}
    texts = [name for name, value in rest.items() if _holds_text(value) and not _is_beside_text(name)]
    if not present and len(texts) == 1:
        return rest[texts[0]]
    if not present and len(struct) == 1 and preferred is LABELS:
        return next(iter(struct.values()))
    if not rest:
        return None
    raise CellFault(f"{describe(struct)} without one obvious text; {remedy}")


def _holds_text(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(item, str) for item in value)
    return isinstance(value, str)


def _is_beside_text(name: str) -> bool:
    """True if a field of this name says something about a text: an id, a language, an address."""
    lowered = name.lower()
    return lowered in NO_TEXTS or lowered in ("id", "tokens") or lowered.endswith(("id", "_url", "_path", "name"))


def _speaker(turn: Any) -> str | None:
    """The speaker of a turn of a conversation, in lower case; None if the value is not a turn."""
    if not isinstance(turn, dict):
        return None
    turn_text = (turn.get("from"), turn.get("value")) if "from" in turn else (turn.get("role"), turn.get("content"))
    return turn_text[0].lower() if isinstance(turn_text[0], str) and turn_text[1] is not None else None


def _read_assistant_answer(turns: list[dict[str, Any]]) -> list[str]:
    """The texts of the assistant's answer in a conversation.

    Raises CellFault unless there is exactly one answer, because several answers are not references for one caption.
    """
    answers = [turn for turn in turns if _speaker(turn) in ASSISTANTS]
    if len(answers) != 1:
        raise CellFault(f"a conversation with {len(answers)} answers, not one; {REMEDY}")
    content = answers[0].get("value") if "from" in answers[0] else answers[0].get("content")
    parts = content if isinstance(content, list) else [content]
    return [text for part in parts for text in _read_text(part.get("text") if isinstance(part, dict) else part)]


def _is_only_numbers(container: list[Any] | dict[str, Any]) -> bool:
    """True if a text contains a list of numbers, like a box. Then the text itself is the reference."""
    return bool(container) and isinstance(container, list) and all(isinstance(item, int | float) for item in container)
