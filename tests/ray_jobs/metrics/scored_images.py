"""Four images, their captions and a judge, for the tests of scoring."""

import json
from typing import Any

JUDGED: dict[str, Any] = {"judge__kind": "vllm", "judge__model": "/m", "judge__criteria": ["colour", "shape"]}
NAME = "part-00000"
GOLDEN: list[dict[str, Any]] = [
    {"image_id": "a", "references": ["a dot"], "label": "dot, spot"},
    {"image_id": "b", "references": ["a line"], "label": "line"},
    {"image_id": "c", "references": [], "label": None},
    {"image_id": "d", "references": ["a box"], "label": "box"},
]
CAPTIONS: list[dict[str, Any]] = [
    {"image_id": "a", "caption": "A dot.", "tokens": 4},
    {"image_id": "b", "caption": "a box", "finish_reason": "length", "tokens": 8},
    {"image_id": "c", "caption": "", "tokens": 1},
    {"image_id": "d", "failure": "engine-error", "detail": "too long"},
]


def make_answer(colour: bool, shape: bool) -> str:
    return json.dumps({"rationale": "so", "colour": colour, "shape": shape})
