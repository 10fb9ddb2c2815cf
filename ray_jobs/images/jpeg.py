"""Decode JPEG with libjpeg-turbo at the needed scale, and reject data whose pixels the decoder made up.

`decode` calls this module in the decoder's process. libjpeg only warns of damaged data, and fills the rest with grey.
Most readers drop that warning. Here the warning rejects the image.
"""

import re

import numpy as np
import simplejpeg

from ray_jobs.images.reject_reasons import ImageRejected

Pixels = np.ndarray  # uint8, height x width x channels

# Some cameras pad with a few bytes before the end marker; more than that is what damaged data leaves over.
EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
TOLERATED = 16
DAMAGE = ("Premature end", "Corrupt JPEG data", "bad Huffman", "progression sequence", "Invalid SOS")


def decode_jpeg(data: bytes, least: tuple[int, int]) -> tuple[Pixels, list[str]] | None:
    """Return RGB pixels at the smallest of libjpeg's scales (eighths, by DCT) with at least `least` = (width, height)
    pixels.

    Returns None if this decoder does not know the kind of JPEG. Raises ImageRejected for damaged data.
    """
    width, height = least
    try:
        return simplejpeg.decode_jpeg(data, min_width=width, min_height=height), []
    except ValueError as error:
        if (repair := _find_repair(str(error))) is None:
            return None
    return simplejpeg.decode_jpeg(data, min_width=width, min_height=height, strict=False), [repair]


def check(data: bytes, mode: str) -> list[str]:
    """Return the repairs of a JPEG in CMYK (or YCCK) or L, which Pillow decodes. Raises ImageRejected for damage."""
    try:
        simplejpeg.decode_jpeg(data, colorspace="CMYK" if mode == "CMYK" else "GRAY")
    except ValueError as error:
        repair = _find_repair(str(error))
        return [repair] if repair else []
    return []


def _find_repair(warning: str) -> str | None:
    """Return the repair that a warning means, or None if it is not about the data. Raises ImageRejected for damage."""
    extraneous = EXTRANEOUS.search(warning)
    if extraneous and int(extraneous[1]) <= TOLERATED:
        return "extraneous-bytes"
    if any(sign in warning for sign in DAMAGE):
        raise ImageRejected("truncated" if "Premature end" in warning else "corrupt", warning)
    return None
