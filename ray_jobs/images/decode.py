"""Decode hostile bytes into an upright RGB image, fully, or say why that cannot be."""

import io
import warnings
from typing import Literal

from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

ImageFile.LOAD_TRUNCATED_IMAGES = False

Reason = Literal[
    "empty", "not-an-image", "truncated", "corrupt", "too-large", "too-small", "extreme-aspect", "unreadable-source"
]


class Rejected(Exception):
    """The image cannot be used; `reason` is one of the closed list, `detail` what was seen."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


def decode(data: bytes, max_source_pixels: int, max_aspect: float) -> tuple[Image.Image, list[str]]:
    """An upright RGB image and the repairs it took (`cmyk-to-rgb`, `first-frame`, ...). Raises Rejected.

    The size is checked on the header, before any pixel is allocated; every pixel is then decoded, since opening an
    image proves nothing of what follows its header.
    """
    if not data:
        raise Rejected("empty", "0 bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise Rejected("too-large", str(error)) from None
    except UnidentifiedImageError:
        raise Rejected("not-an-image", f"{len(data)} bytes that begin {data[:16]!r}") from None
    except Exception as error:  # a codec may raise anything on hostile bytes
        raise Rejected("corrupt", f"{type(error).__name__}: {error}") from None
    width, height = image.size
    if width * height > max_source_pixels:
        raise Rejected("too-large", f"{width}x{height}, over {max_source_pixels} pixels")
    if min(width, height) < 2:
        raise Rejected("too-small", f"{width}x{height}")
    if max(width, height) > max_aspect * min(width, height):
        raise Rejected("extreme-aspect", f"{width}x{height}, over {max_aspect:g} to 1")
    try:
        image.load()
        return _upright_rgb(image)
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        raise Rejected("truncated" if "truncated" in text else "corrupt", text) from None


def _upright_rgb(image: Image.Image) -> tuple[Image.Image, list[str]]:
    repairs = []
    if getattr(image, "n_frames", 1) > 1:
        image.seek(0)
        repairs.append("first-frame")
    if image.getexif().get(0x0112, 1) not in (0, 1):
        image = ImageOps.exif_transpose(image)
        repairs.append("exif-rotated")
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_8_bit(image)
        repairs.append("16-bit-to-8")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
        repairs.append("alpha-over-white")
    elif image.mode == "CMYK":
        repairs.append("cmyk-to-rgb")
    return image.convert("RGB"), repairs


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Grey values of up to 16 bits, scaled down; Pillow's own convert would clip everything over 255 to white.

    A file that says 16 bits is believed, so a dark one stays dark; of wider modes the values tell.
    """
    _, high = image.getextrema()
    if not image.mode.startswith("I;16") and (isinstance(high, tuple) or high <= 255):
        return image.convert("L")
    return image.convert("I").point(lambda value: value * (1 / 257) + 0).convert("L")
