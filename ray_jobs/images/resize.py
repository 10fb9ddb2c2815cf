"""Resize an image once, to the size that the model's processor would choose, so that the processor does not resize.

`prepare` and `decode` call this module in the decoder's process.
"""

import io
import math

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from ray_jobs.contract.sections.preprocess import Preprocess

cv2.setNumThreads(1)  # the parallelism is over images

# EXIF orientation -> (quarter turns counter-clockwise, then mirrored left to right)
TURNS = dict(enumerate(((0, False), (0, True), (2, False), (2, True), (3, True), (3, False), (1, True), (1, False)), 1))
AREA_FROM = 1.5  # below this factor, averaging blurs more than cubic interpolation aliases


def compute_target_size(width: int, height: int, settings: Preprocess) -> tuple[int, int]:
    """Return (width, height) on the patch grid within the pixel budget, with the aspect kept as the grid allows.

    This is the rule of Qwen2-VL's `smart_resize` (transformers, `image_processing_qwen2_vl.py`), so that the model's
    processor agrees.
    """
    patch = settings.patch
    target_width, target_height = round(width / patch) * patch, round(height / patch) * patch
    if target_width * target_height > settings.max_pixels:
        shrink = math.sqrt(width * height / settings.max_pixels)
        target_width = max(patch, math.floor(width / shrink / patch) * patch)
        target_height = max(patch, math.floor(height / shrink / patch) * patch)
    elif target_width * target_height < settings.min_pixels:
        grow = math.sqrt(settings.min_pixels / (width * height))
        target_width, target_height = math.ceil(width * grow / patch) * patch, math.ceil(height * grow / patch) * patch
    return target_width, target_height


def resize(pixels: np.ndarray, size: tuple[int, int], settings: Preprocess) -> np.ndarray:
    """Return uint8 pixels (height x width x RGB) at `size` = (width, height). Pixels of that size stay the same."""
    height, width = pixels.shape[:2]
    if (width, height) == size:
        return pixels
    if settings.filter == "lanczos":
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
    shrinks = max(width / size[0], height / size[1]) >= AREA_FROM
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return the pixels, turned upright by their EXIF orientation (1 to 8)."""
    quarters, mirrored = TURNS[orientation]
    turned = np.rot90(pixels, quarters)
    return np.ascontiguousarray(turned[:, ::-1] if mirrored else turned)


def encode(pixels: np.ndarray, settings: Preprocess) -> bytes:
    """Return the encoded golden image. Equal pixels give equal bytes."""
    if settings.format == "jpeg":
        return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), settings.quality, colorsubsampling="444"))
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG", compress_level=1)
    return sink.getvalue()
