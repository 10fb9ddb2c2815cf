"""Resize once, to the size the model's own processor would choose, so that it finds nothing left to resize."""

import io
import math

from PIL import Image

from ray_jobs.contract import Preprocess


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


def resize(image: Image.Image, settings: Preprocess) -> Image.Image:
    """The image at its target size; the image itself when it is there already."""
    size = target_size(*image.size, settings)
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)


def encode(image: Image.Image, settings: Preprocess) -> bytes:
    """The stored form of a golden image; the same bytes for the same pixels."""
    sink = io.BytesIO()
    if settings.format == "png":
        image.save(sink, "PNG", compress_level=1)
    else:
        image.save(sink, "JPEG", quality=settings.quality, subsampling=0)
    return sink.getvalue()
