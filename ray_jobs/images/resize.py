"""Resize once, to the size the model's own processor would choose, so that it finds nothing left to resize."""

import io
import math

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from ray_jobs.contract.suite import Preprocess

cv2.setNumThreads(1)  # the parallelism is over images

# EXIF orientation -> (quarter turns counter-clockwise, then mirrored left to right)
TURNS = dict(enumerate(((0, False), (0, True), (2, False), (2, True), (3, True), (3, False), (1, True), (1, False)), 1))
AREA_FROM = 1.5  # shrunk by less, averaging blurs more than cubic interpolation aliases


def target_size(width: int, height: int, settings: Preprocess) -> tuple[int, int]:
    """(width, height) on the patch grid within the pixel budget, aspect kept as nearly as the grid allows.

    The rule of Qwen2-VL's `smart_resize` (transformers, `image_processing_qwen2_vl.py`), so that its processor agrees.
    """
    patch = settings.patch
    wide, high = round(width / patch) * patch, round(height / patch) * patch
    if wide * high > settings.max_pixels:
        shrink = math.sqrt(width * height / settings.max_pixels)
        wide = max(patch, math.floor(width / shrink / patch) * patch)
        high = max(patch, math.floor(height / shrink / patch) * patch)
    elif wide * high < settings.min_pixels:
        grow = math.sqrt(settings.min_pixels / (width * height))
        wide, high = math.ceil(width * grow / patch) * patch, math.ceil(height * grow / patch) * patch
    return wide, high


def resize(pixels: np.ndarray, size: tuple[int, int], settings: Preprocess) -> np.ndarray:
    """uint8 pixels (height x width x RGB) at `size` = (width, height); the pixels themselves when they are there."""
    height, width = pixels.shape[:2]
    if (width, height) == size:
        return pixels
    if settings.filter == "lanczos":
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
    shrinks = max(width / size[0], height / size[1]) >= AREA_FROM
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels turned as their EXIF orientation (1 to 8) says."""
    quarters, mirrored = TURNS[orientation]
    turned = np.rot90(pixels, quarters)
    return np.ascontiguousarray(turned[:, ::-1] if mirrored else turned)


def encode(pixels: np.ndarray, settings: Preprocess) -> bytes:
    """The stored form of a golden image; the same bytes for the same pixels."""
    if settings.format == "jpeg":
        return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), settings.quality, colorsubsampling="444"))
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG", compress_level=1)
    return sink.getvalue()
