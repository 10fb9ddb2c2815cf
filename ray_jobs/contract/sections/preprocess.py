"""The section `preprocess` of a suite: how golden images are made, and which images are rejected."""

from typing import ClassVar, Literal

from pydantic import Field

from ray_jobs.contract.suite_section import SuiteSection


class Preprocess(SuiteSection):
    """How images are decoded, resized once and stored, and which of them are rejected."""

    IDENTIFYING: ClassVar = frozenset((
        "max_pixels", "min_pixels", "patch", "filter", "format", "quality", "max_source_pixels", "min_side",
        "max_aspect", "duplicates", "decode_seconds", "decode_mb",
    ))  # fmt: skip
    ELSEWHERE: ClassVar = {
        "max_rejected_fraction": "whether the set is used, not what is in it",
        "part_rows": "how the images are cut into parts",
        "part_mb": "how the images are cut into parts",
    }

    max_pixels: int = Field(200704, gt=0)
    """An image with more pixels is made smaller."""
    min_pixels: int = Field(3136, gt=0)
    """An image with fewer pixels is made larger."""
    patch: int = Field(28, gt=0)
    """Both sides of a golden image are multiples of this many pixels."""
    filter: Literal["fast", "lanczos"] = "fast"
    """`fast` decodes a JPEG at the smallest scale that still has enough pixels; `lanczos` decodes all pixels and takes
    several times as long."""
    format: Literal["jpeg", "png"] = "jpeg"
    """How golden images are stored."""
    quality: int = Field(95, ge=1, le=100)
    """The quality of stored JPEG images, from 1 to 100."""
    max_source_pixels: int = Field(178_956_970, gt=0)
    """An image with more pixels is rejected as `too-large`, before memory is allocated."""
    min_side: int = Field(2, gt=0)
    """An image with a shorter side, in pixels, is rejected as `too-small`."""
    max_aspect: float = Field(200.0, gt=1)
    """An image whose longer side is more than this many times its shorter side is rejected as `extreme-aspect`."""
    duplicates: Literal["reject", "keep"] = "reject"
    """`reject` keeps one of several equal files; `keep` keeps all of them."""
    decode_seconds: float = Field(30.0, gt=0)
    """An image that takes longer to decode, in seconds, is rejected as `timeout`."""
    decode_mb: int = Field(4096, ge=256)
    """An image that takes more memory to decode, in MB, is rejected as `too-large`."""
    max_rejected_fraction: float = Field(0.1, ge=0, le=1)
    """If a larger share of the images is rejected, the job ends as bad input."""
    part_rows: int = Field(256, gt=0, le=4096)
    """The largest number of images in a part."""
    part_mb: int = Field(128, gt=0)
    """The largest size of a part's source images, in MB."""
