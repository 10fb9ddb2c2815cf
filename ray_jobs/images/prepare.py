"""Turn one image file into one golden image: decode, resize once, convert to sRGB, turn upright, encode.

This runs in the decoder's process.
"""

import io
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3
from PIL import Image, ImageFile

from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.images.bounds import max_image_bytes
from ray_jobs.images.colour import to_srgb
from ray_jobs.images.decode import decode, open_header
from ray_jobs.images.reject_reasons import ImageRejected, Reason
from ray_jobs.images.resize import compute_target_size, encode, resize, turn_upright
from ray_jobs.inputs.errors import RetryableError
from ray_jobs.inputs.regular_files import NotRegularError, open_regular

THUMBNAIL = (96, 96)


@dataclass(frozen=True)
class GoldenImage:
    """A golden image and facts of its source file: `blake3` is the file's hash, `source_bytes` its size in bytes."""

    image: bytes
    width: int
    height: int
    source_width: int
    source_height: int
    source_bytes: int
    format: str
    repairs: list[str]
    blake3: bytes
    seconds: dict[str, float] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Reject:
    reason: Reason
    detail: str
    thumbnail: bytes | None = None


def prepare(data: bytes, settings: Preprocess, name: str = "") -> GoldenImage:
    """Return the golden image of the file's bytes. Raises ImageRejected."""
    started_at = time.perf_counter()
    decoded = decode(data, settings, name)
    decoded_at = time.perf_counter()
    repairs = list(decoded.repairs)
    width, height = compute_target_size(decoded.width, decoded.height, settings)
    pixels = resize(decoded.pixels, (width, height) if decoded.orientation < 5 else (height, width), settings)
    pixels = turn_upright(to_srgb(pixels, decoded.profile, repairs), decoded.orientation)
    resized_at = time.perf_counter()
    image = encode(pixels, settings)
    encoded_at = time.perf_counter()
    return GoldenImage(
        image=image,
        width=width,
        height=height,
        source_width=decoded.width,
        source_height=decoded.height,
        source_bytes=len(data),
        format=decoded.format,
        repairs=repairs,
        blake3=blake3(data).digest(),
        seconds={
            "decode": decoded_at - started_at,
            "resize": resized_at - decoded_at,
            "encode": encoded_at - resized_at,
        },
    )


def read_file(file: Path) -> bytes:
    """Return the bytes of a local file. Raises ImageRejected if that fails, RetryableError if a retry may succeed."""
    try:
        with open_regular(file) as source:
            data = source.read() if os.fstat(source.fileno()).st_size <= max_image_bytes() else None
    except NotRegularError:
        raise ImageRejected("unreadable-source", f"{file}: not a regular file") from None
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise ImageRejected("unreadable-source", f"{file}: {error.strerror}") from None
    except OSError as error:  # a disk that fails now may not fail the next time
        raise RetryableError(f"cannot read {file}: {error}") from error
    if data is None:
        raise ImageRejected("too-large", f"over {max_image_bytes()} bytes; ASSAY_MAX_IMAGE_MB may allow more")
    return data


def thumbnail(data: bytes, settings: Preprocess) -> bytes | None:
    """Return a small JPEG of the decodable part of a rejected image, or None if nothing can be decoded."""
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        image: Image.Image = open_header(data, settings)
        if image.size[0] * image.size[1] > settings.max_source_pixels:
            return None
        image.draft("RGB", THUMBNAIL)
        image = image.convert("RGB")
        image.thumbnail(THUMBNAIL)
        sink = io.BytesIO()
        image.save(sink, "JPEG", quality=70)
        return sink.getvalue()
    except Exception:  # a preview is optional
        return None
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
