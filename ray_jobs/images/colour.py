"""Convert colours to sRGB: profiles, CMYK, Lab, transparency over white, and grey values of more than 8 bits.

`decode` and `prepare` call this module in the decoder's process.
"""

import io
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from ray_jobs.images.reject_reasons import ImageRejected

TRANSPARENT = ("RGBA", "LA", "PA", "RGBa", "La")
UNUSABLE = (ImageCms.PyCMSError, OSError)  # raised for a damaged profile, or a profile of another colour space


def to_rgb(image: Image.Image, repairs: list[str]) -> tuple[Image.Image, bytes | None]:
    """Load an opened image. Return it as RGB, and the profile that its values still use, or None for sRGB.

    Every repair is added to `repairs`. A profile of another colour space than RGB is applied here.
    """
    profile = image.info.get("icc_profile") or None
    # Pillow reduces these to 8 bits and keeps no trace of the 16 bits.
    is_16_bit = any("16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    image.load()
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_8_bit(image)
        repairs.append("16-bit-to-8")
    elif is_16_bit:
        repairs.append("16-bit-to-8")
    if image.mode in ("CMYK", "LAB"):
        repairs.append(f"{image.mode.lower()}-to-rgb")
        return _convert_to_rgb(image, profile, repairs), None
    if image.mode in TRANSPARENT or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            repairs.append("alpha-over-white")
    if image.mode in ("L", "1") and profile and _space(profile) == "GRAY" and not _is_srgb(profile):
        return _convert_to_rgb(image.convert("L"), profile, repairs), None
    return image.convert("RGB"), profile


def to_srgb(pixels: np.ndarray, profile: bytes | None, repairs: list[str]) -> np.ndarray:
    """Convert RGB pixels from the profile to sRGB. An unusable profile is ignored, and `repairs` records that."""
    if profile is None or _is_srgb(profile):
        return pixels
    try:
        converted = ImageCms.applyTransform(Image.fromarray(pixels), _transform(profile, "RGB"))
    except UNUSABLE:
        repairs.append("icc-ignored")
        return pixels
    repairs.append("icc-to-srgb")
    return np.asarray(converted)


def _convert_to_rgb(image: Image.Image, profile: bytes | None, repairs: list[str]) -> Image.Image:
    """Convert CMYK, Lab or grey to RGB, with the profile if it fits."""
    if image.mode == "LAB":
        return ImageCms.profileToProfile(
            image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )  # type: ignore[return-value]
    if profile:
        try:
            converted = ImageCms.applyTransform(image, _transform(profile, image.mode))
        except UNUSABLE:
            repairs.append("icc-ignored")
        else:
            repairs.append("icc-to-srgb")
            return converted  # type: ignore[return-value]
    return image.convert("RGB")


@lru_cache(8)
def _transform(profile: bytes, mode: str) -> Any:
    return ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), mode, "RGB"
    )


@lru_cache(8)
def _is_srgb(profile: bytes) -> bool:
    try:
        description = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).lower()
    except UNUSABLE:
        return False
    return "srgb" in description and not any(linear in description for linear in ("linear", "-g10"))


def _space(profile: bytes) -> str:
    """Return the colour space that the profile's header names."""
    return profile[16:20].decode("latin-1").strip()


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Scale grey of at most 16 bits, or floating point, to 8 bits, because Pillow would clip values over 255 to white.

    A file with a mode of 16 bits is scaled from 16 bits, so a dark image stays dark. In wider modes the values decide:
    floating values up to 1 are fractions of white, and values up to 255 are 8 bits. Larger values than 16 bits have no
    known white, so they raise ImageRejected.
    """
    values: np.ndarray = np.nan_to_num(np.asarray(image, dtype=np.float32))
    high = float(values.max(initial=0))
    if high > 65535:
        raise ImageRejected("corrupt", f"{image.mode} with values up to {high:g}, of more than 16 bits")
    transparent = image.info.get("transparency")
    visible = values != transparent if isinstance(transparent, int) else None
    if image.mode.startswith("I;16") or high > 255:
        values = values / 257
    elif image.mode == "F" and high <= 1:
        values = values * 255
    grey = Image.fromarray(np.clip(values + 0.5, 0, 255).astype(np.uint8))
    return grey if visible is None else Image.merge("LA", (grey, Image.fromarray(visible).convert("L")))
