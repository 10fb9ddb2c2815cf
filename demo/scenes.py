"""Captioned scenes: coloured shapes on dark grounds. Every caption is a full description of its image.

    python demo/scenes.py        # remakes demo/images/scenes/*.png and demo/images/metadata.jsonl, byte for byte

A caption names six attributes in a fixed order: "two small red circles on the left of a navy background".
There are 2304 combinations of attributes. 256 of them, drawn once, are the validation set and are never drawn in
training: no checkpoint has seen a held-out image, or any other image of its scene.
"""

import itertools
import json
import random
import re
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw

CAPTION_PROMPT = "describe the image"
IMAGES = Path(__file__).parent / "images"
SIDE = 112  # pixels; 4 x 4 image tokens of 28 x 28
HELD_OUT = 256
SEED = 20_000_000  # of the held-out images; training counts its seeds up from 0

# Bright shapes on dark grounds: whether a pixel belongs to a shape is then linear in RGB. With any colour on any
# colour a model of this size was still guessing the shape after 1600 steps.
SHAPE_RGB = {
    "red": (228, 52, 52),
    "green": (50, 190, 80),
    "blue": (70, 125, 255),
    "yellow": (245, 212, 50),
    "white": (243, 243, 243),
    "pink": (245, 130, 205),
}
GROUND_RGB = {"black": (12, 12, 12), "gray": (62, 62, 62), "navy": (14, 20, 84), "brown": (74, 40, 14)}

VALUES: dict[str, tuple[str, ...]] = {
    "count": ("one", "two", "three"),
    "colour": tuple(SHAPE_RGB),
    "size": ("small", "large"),
    "shape": ("circle", "square", "triangle", "cross"),
    "position": ("left", "right", "top", "bottom"),
    "background": tuple(GROUND_RGB),
}
PREPOSITION = {"left": "on", "right": "on", "top": "at", "bottom": "at"}

Scene = dict[str, str]  # one value for each attribute of VALUES

_CAPTION = re.compile(
    r"(?P<count>{count}) (?P<size>{size}) (?P<colour>{colour}) (?P<shape>{shape})(?:e?s)?"
    r" (?:on|at) the (?P<position>{position}) of a (?P<background>{background}) background".format(
        **{name: "|".join(values) for name, values in VALUES.items()}
    )
)


def write_caption(scene: Scene) -> str:
    """The only right caption of a scene."""
    shape = scene["shape"]
    if scene["count"] != "one":
        shape += "es" if shape == "cross" else "s"
    where = f"{PREPOSITION[scene['position']]} the {scene['position']} of a {scene['background']} background"
    return f"{scene['count']} {scene['size']} {scene['colour']} {shape} {where}"


def parse(text: str) -> Scene | None:
    """The scene a caption describes; None when the text is not exactly the caption of any scene."""
    match = _CAPTION.fullmatch(text.strip())
    if match is None:
        return None
    scene = {name: match[name] for name in VALUES}
    return scene if write_caption(scene) == text.strip() else None


def list_scenes() -> list[Scene]:
    """All 2304 combinations, in a fixed order."""
    return [dict(zip(VALUES, combination, strict=True)) for combination in itertools.product(*VALUES.values())]


def list_held_out_scenes() -> list[Scene]:
    """The 256 combinations set aside for validation."""
    return random.Random(SEED).sample(list_scenes(), HELD_OUT)


_HELD_OUT_CAPTIONS = frozenset(write_caption(scene) for scene in list_held_out_scenes())


def draw_training_scene(rng: random.Random) -> Scene:
    """A random combination that validation does not use."""
    while True:
        scene = {name: rng.choice(values) for name, values in VALUES.items()}
        if write_caption(scene) not in _HELD_OUT_CAPTIONS:
            return scene


class Layout(NamedTuple):
    """The places and colours of a drawing's shapes, which vary between two images of one scene."""

    ground: tuple[int, ...]
    fill: tuple[int, ...]
    radius: float
    centres: list[tuple[float, float]]


def lay_out(scene: Scene, rng: random.Random) -> Layout:
    """A random layout of the scene: place, radius and both colours vary a little. Centres go from left or top."""
    ground = _jitter(GROUND_RGB[scene["background"]], rng)
    large, count = scene["size"] == "large", VALUES["count"].index(scene["count"]) + 1
    radius, pitch = (rng.uniform(15, 17), 36) if large else (rng.uniform(9.5, 11.5), 28)
    fill = _jitter(SHAPE_RGB[scene["colour"]], rng)
    across = (28 if scene["position"] in ("left", "top") else SIDE - 28) + rng.uniform(-3, 3)
    middle = SIDE / 2 + rng.uniform(-2, 2)
    centres = []
    for i in range(count):
        along = middle + pitch * (i - (count - 1) / 2)
        centres.append((across, along) if scene["position"] in ("left", "right") else (along, across))
    return Layout(ground, fill, radius, centres)


def paint(scene: Scene, layout: Layout) -> Image.Image:
    """An RGB image of the scene, SIDE pixels square."""
    image = Image.new("RGB", (SIDE, SIDE), layout.ground)
    canvas = ImageDraw.Draw(image)
    for x, y in layout.centres:
        _draw_shape(canvas, scene["shape"], x, y, layout.radius, layout.fill)
    return image


def draw(scene: Scene, rng: random.Random) -> Image.Image:
    """An RGB image of the scene with a new random layout."""
    return paint(scene, lay_out(scene, rng))


def list_held_out() -> list[tuple[Scene, Image.Image]]:
    """The validation set: 256 (scene, image) pairs."""
    return [(scene, paint(scene, layout)) for scene, layout in list_held_out_layouts()]


def list_held_out_layouts() -> list[tuple[Scene, Layout]]:
    """The validation set's scenes, and where each image has its shapes."""
    return [(scene, lay_out(scene, random.Random(SEED + i))) for i, scene in enumerate(list_held_out_scenes())]


def _jitter(colour: tuple[int, int, int], rng: random.Random) -> tuple[int, ...]:
    return tuple(max(0, min(255, channel + rng.randint(-12, 12))) for channel in colour)


def _draw_shape(canvas: ImageDraw.ImageDraw, shape: str, x: float, y: float, r: float, fill: tuple[int, ...]) -> None:
    if shape == "circle":
        canvas.ellipse((x - r, y - r, x + r, y + r), fill=fill)
    elif shape == "square":
        half = r * 0.88
        canvas.rectangle((x - half, y - half, x + half, y + half), fill=fill)
    elif shape == "triangle":
        canvas.polygon([(x, y - r), (x - r, y + r * 0.85), (x + r, y + r * 0.85)], fill=fill)
    else:
        arm = r * 0.36
        canvas.rectangle((x - r, y - arm, x + r, y + arm), fill=fill)
        canvas.rectangle((x - arm, y - r, x + arm, y + r), fill=fill)


def main(images: Path = IMAGES) -> None:
    (images / "scenes").mkdir(parents=True, exist_ok=True)
    lines = []
    for i, (scene, image) in enumerate(list_held_out()):
        name = f"scenes/scene-{i:03d}.png"
        image.save(images / name, optimize=True)
        lines.append(json.dumps({"file_name": name, "caption": write_caption(scene), **scene}) + "\n")
    (images / "metadata.jsonl").write_text("".join(lines))
    print(f"{len(lines)} scenes in {images / 'scenes'}")


if __name__ == "__main__":
    main()
