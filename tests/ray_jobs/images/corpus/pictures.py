"""The pictures of the corpus: no symmetry, ramps that show a wrong gamma, blocks that show swapped channels."""

from functools import cache

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 224, 112  # on the patch grid: nothing is lost to resizing
BLOCKS = {(16, 16): (220, 30, 40), (160, 16): (30, 190, 60), (16, 64): (40, 50, 210), (96, 64): (235, 225, 60)}


@cache
def scene() -> Image.Image:
    """Four blocks of different colours on ramps, under slight noise, so that files are long enough to be cut."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    ramps = np.stack([40 + x * 170 / WIDTH, 60 + y * 140 / HEIGHT, 200 - x * 140 / WIDTH], axis=2)
    for (column_start, row_start), colour in BLOCKS.items():
        ramps[row_start : row_start + 32, column_start : column_start + 48] = colour
    noise = np.random.default_rng(1).normal(0, 3, ramps.shape)
    return Image.fromarray(np.clip(ramps + noise, 0, 255).round().astype(np.uint8))


@cache
def mirrored() -> Image.Image:
    """The content of a later frame."""
    return scene().transpose(Image.Transpose.ROTATE_180)


@cache
def grey() -> Image.Image:
    return scene().convert("L")


@cache
def black_and_white() -> Image.Image:
    return scene().convert("1")


@cache
def flat() -> Image.Image:
    """Eight colours."""
    return scene().quantize(8, dither=Image.Dither.NONE)


@cache
def clear() -> Image.Image:
    """The scene with its right part transparent over black."""
    image = scene().convert("RGBA")
    image.paste((0, 0, 0, 0), (144, 0, WIDTH, HEIGHT))
    return image


@cache
def over_white() -> Image.Image:
    """How `clear` must look."""
    image = scene().copy()
    image.paste("white", (144, 0, WIDTH, HEIGHT))
    return image


@cache
def large() -> Image.Image:
    """The scene at a size that has to be shrunk."""
    return scene().resize((5 * WIDTH, 5 * HEIGHT), Image.Resampling.BICUBIC)


def to_cmyk(image: Image.Image) -> np.ndarray:
    """Cyan, magenta, yellow and black, uint8, with as much black as there can be (the inverse of PDF 1.7, 10.3.5)."""
    pixels = np.asarray(image, dtype=np.float64)
    most = pixels.max(axis=2, keepdims=True)
    colours = 255 * (most - pixels) / np.maximum(most, 1)
    return np.asarray(np.concatenate([colours, 255 - most], axis=2).round(), dtype=np.uint8)


def cmyk() -> Image.Image:
    return Image.fromarray(to_cmyk(scene()), "CMYK")
