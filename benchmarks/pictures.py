"""Writes JPEG files like those of cameras and the web: the demo's photographs, resized, with different noise."""

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image

PHOTOS = sorted((Path(__file__).parent.parent / "demo" / "images" / "photos").glob("*.jpg"))
VARIANTS = 12


def draw_photograph(number: int, width: int, height: int) -> Image.Image:
    """A photograph of this size, with noise that depends on the number."""
    image = Image.open(PHOTOS[number % len(PHOTOS)]).convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    noise = np.random.default_rng(number).normal(0, 5, (height, width, 1))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def write_jpegs(folder: Path, count: int, width: int, height: int, quality: int = 90) -> Path:
    """Write `count` JPEG files with different bytes, from twelve pictures. Returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    encoded = []
    for number in range(min(count, VARIANTS)):
        sink = io.BytesIO()
        draw_photograph(number, width, height).save(sink, "JPEG", quality=quality)
        encoded.append(sink.getvalue())
    for number in range(count):
        (folder / f"{number:07d}.jpg").write_bytes(_add_comment(encoded[number % len(encoded)], f"image {number}"))
    return folder


def _add_comment(jpeg: bytes, comment: str) -> bytes:
    """The JPEG with a comment segment after its first marker."""
    text = comment.encode()
    return jpeg[:2] + b"\xff\xfe" + struct.pack(">H", len(text) + 2) + text + jpeg[2:]
