"""Schemas of `caption.fields` for tests: a box, a list of located labels, and one schema with a field of each kind."""

from typing import Any

BOX: dict[str, Any] = {"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4}
LOCATED: dict[str, Any] = {
    "type": "array",
    "items": {"type": "object", "properties": {"label": {"type": "string"}, "box": BOX}},
}
WHOLE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "caption": {"type": "string", "maxLength": 160},
        "count": {"type": "integer", "minimum": 0, "maximum": 9},
        "colour": {"type": "string", "enum": ["red", "dark blue"]},
        "share": {"type": "number", "minimum": 0, "maximum": 1},
        "indoors": {"type": "boolean"},
        "rank": {"type": "integer", "enum": [1, 3]},
        "objects": {"type": "array", "items": {"type": "string"}, "maxItems": 5},
        "box": BOX,
        "boxes": {"type": "array", "items": BOX},
        "found": LOCATED,
    },
}
