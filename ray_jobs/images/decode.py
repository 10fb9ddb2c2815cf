"""Decode the bytes of one image fully, or reject them with a reason. The bytes may be hostile.

`prepare` calls this in the decoder's process.
"""

import io
import warnings
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
import pi_heif
from PIL import Image, ImageFile, UnidentifiedImageError

from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.dataset.image_formats import FORMATS, SUFFIXES
from ray_jobs.images import colour, jpeg, png
from ray_jobs.images.reject_reasons import ImageRejected
from ray_jobs.images.resize import compute_target_size
from ray_jobs.inputs import lfs_pointers

ImageFile.LOAD_TRUNCATED_IMAGES = False
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
pi_heif.register_heif_opener()

OPENED = tuple(name for name in FORMATS if name != "MPO")  # the JPEG reader opens MPO: several JPEGs in a file
ORIENTATION = 0x0112


@dataclass(frozen=True)
class DecodedImage:
    """A decoded image. `pixels` are as the file has them: uint8, height x width x RGB, in `profile`, not yet upright.

    A JPEG may be decoded at a smaller scale; `width` and `height` are those of the whole image, upright.
    """

    pixels: np.ndarray
    width: int
    height: int
    format: str
    orientation: int = 1
    profile: bytes | None = None
    repairs: list[str] = field(default_factory=list)


def decode(data: bytes, settings: Preprocess, name: str = "") -> DecodedImage:
    """Return the image in the bytes. `name` is only compared with the format of the bytes. Raises ImageRejected.

    The size is checked in the header before any pixel is allocated. Then every pixel is decoded, because opening an
    image proves nothing about the data behind the header.
    """
    image = open_header(data, settings)
    _check_size(*image.size, settings)
    suffix = PurePosixPath(name).suffix.lower()
    repairs = ["wrong-extension"] if suffix in SUFFIXES and suffix not in FORMATS[str(image.format)] else []
    try:
        return _decode_image(data, image, settings, repairs)
    except (ImageRejected, MemoryError):
        raise
    except Exception as error:  # a codec may raise anything on hostile bytes
        text = f"{type(error).__name__}: {error}"
        raise ImageRejected("truncated" if "truncated" in text else "corrupt", text) from None


def open_header(data: bytes, settings: Preprocess) -> ImageFile.ImageFile:
    """Return the image with only its header read. Raises ImageRejected, but not for every size over the limit."""
    if not data:
        raise ImageRejected("empty", "0 bytes")
    Image.MAX_IMAGE_PIXELS = (settings.max_source_pixels + 1) // 2  # Pillow refuses images above twice this
    try:
        return Image.open(io.BytesIO(data), formats=OPENED)
    except Image.DecompressionBombError as error:  # for example a GIF whose first frame is larger than its screen
        raise ImageRejected("too-large", str(error)) from None
    except UnidentifiedImageError:
        if signature := _find_signature(data[:16]):
            raise ImageRejected("corrupt", f"begins as {signature} does, and its header cannot be read") from None
        if lfs_pointers.is_pointer(data):
            raise ImageRejected("not-an-image", lfs_pointers.REMEDY) from None
        raise ImageRejected("not-an-image", f"{len(data)} bytes of no format that is read here") from None
    except MemoryError:
        raise
    except Exception as error:
        raise ImageRejected("corrupt", f"{type(error).__name__}: {error}") from None


def _find_signature(prefix: bytes) -> str | None:
    """Return the format of which the first 16 bytes are the signature, or None."""
    accepts = {name: Image.OPEN[name][1] for name in OPENED}
    return next((name for name, accept in accepts.items() if accept and accept(prefix) is True), None)


def _check_size(width: int, height: int, settings: Preprocess) -> None:
    if width * height > settings.max_source_pixels:
        raise ImageRejected("too-large", f"{width}x{height}, over {settings.max_source_pixels} pixels")
    if min(width, height) < settings.min_side:
        raise ImageRejected("too-small", f"{width}x{height}, a side under {settings.min_side}")
    if max(width, height) > settings.max_aspect * min(width, height):
        raise ImageRejected("extreme-aspect", f"{width}x{height}, over {settings.max_aspect:g} to 1")


def _decode_image(data: bytes, image: ImageFile.ImageFile, settings: Preprocess, repairs: list[str]) -> DecodedImage:
    kind = "JPEG" if image.format == "MPO" else str(image.format)
    if kind != "JPEG" and getattr(image, "is_animated", False):
        repairs.append("first-frame")  # for HEIF, the frame that the file names as its primary image
    pixels, profile = None, image.info.get("icc_profile")
    if kind == "PNG":
        png.check(data)
    if kind == "JPEG" and (image.mode == "CMYK" or (image.mode == "L" and profile)):
        repairs += jpeg.check(data, image.mode)
    elif kind == "JPEG":
        width, height = image.size
        smallest = compute_target_size(width, height, settings) if settings.filter == "fast" else (width, height)
        if decoded := jpeg.decode_jpeg(data, smallest):
            pixels, jpeg_repairs = decoded
            repairs += jpeg_repairs
    is_turned = kind == "TIFF" and _orientation(image) != 1  # Pillow turns a TIFF while it loads the pixels
    if pixels is None:
        rgb, profile = colour.to_rgb(image, repairs)
        pixels = np.asarray(rgb)
    orientation = _orientation(image)
    width, height = image.size if orientation < 5 else image.size[::-1]
    if is_turned or orientation != 1:
        repairs.append("exif-rotated")
    return DecodedImage(pixels, width, height, kind, orientation, profile, repairs)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation (EXIF 2.3, tag 0x0112). It is 1, upright, if the EXIF is missing or damaged."""
    try:
        orientation = int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # EXIF may be hostile too, and damaged EXIF does not mean damaged pixels
        return 1
    return orientation if orientation in range(1, 9) else 1
