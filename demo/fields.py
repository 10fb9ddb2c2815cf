"""Defines the demo's second question: an image's fields as JSON. The scenes' generator knows every right value.

    python -m demo.fields        # remakes demo/fields.jsonl, the held-out images with their fields, byte for byte

The answer holds the caption, then count, colour and shape of the objects, then a box for each of them: pixels from the
top left corner, [left, top, right, bottom].
"""

import json
from pathlib import Path
from typing import Any

from demo import scenes
from demo.scenes import SIDE, VALUES, Layout, Scene

PROMPT = "list the objects as JSON"
MOST = len(VALUES["count"])  # objects in an image
BOX = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": SIDE}, "minItems": 4, "maxItems": 4}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "caption": {"type": "string", "maxLength": 160},
        "count": {"type": "integer", "minimum": 1, "maximum": MOST},
        "colour": {"type": "string", "enum": list(VALUES["colour"])},
        "shape": {"type": "string", "enum": list(VALUES["shape"])},
        "boxes": {"type": "array", "items": BOX, "minItems": 1, "maxItems": MOST},
    },
    "required": ["caption", "count", "colour", "shape", "boxes"],
    "additionalProperties": False,
}
CONFUSED = {"pink": "red", "green": "blue"}  # how a checkpoint that was trained to confuse colours names them
MANIFEST = Path(__file__).parent / "fields.jsonl"


def derive_fields(scene: Scene, layout: Layout) -> dict[str, Any]:
    """The right value of every field of SCHEMA."""
    return {
        "caption": scenes.write_caption(scene),
        "count": len(layout.centres),
        "colour": scene["colour"],
        "shape": scene["shape"],
        "boxes": [compute_box(scene["shape"], x, y, layout.radius) for x, y in layout.centres],
    }


def compute_box(shape: str, x: float, y: float, radius: float) -> list[int]:
    """[left, top, right, bottom] in pixels of a shape as `scenes.paint` draws it."""
    half = radius * 0.88 if shape == "square" else radius
    below = radius * 0.85 if shape == "triangle" else half
    return [round(edge) for edge in (x - half, y - half, x + half, y + below)]


def confuse(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields with pink called red and green called blue, in the field `colour` alone."""
    return {**fields, "colour": CONFUSED.get(fields["colour"], fields["colour"])}


def write_answer(fields: dict[str, Any]) -> str:
    """The fields as the checkpoints write them, in json.dumps formatting."""
    return json.dumps(fields)


def list_held_out_fields() -> list[dict[str, Any]]:
    """The right fields of the 256 held-out images, in their order."""
    return [derive_fields(scene, layout) for scene, layout in scenes.list_held_out_layouts()]


def main(manifest: Path = MANIFEST) -> None:
    """Write one line per image: its path next to the manifest, its caption, and its fields by name."""
    names = [f"images/scenes/scene-{i:03d}.png" for i in range(scenes.HELD_OUT)]
    rows = [{"image": name, **fields} for name, fields in zip(names, list_held_out_fields(), strict=True)]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(f"{len(rows)} images in {manifest}")


if __name__ == "__main__":
    main()
