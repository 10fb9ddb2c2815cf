"""The bound on the bytes of one image file, the same for every kind of source."""

import os


def max_image_bytes() -> int:
    """Return ASSAY_MAX_IMAGE_MB in bytes, by default 64 MiB."""
    return int(os.environ.get("ASSAY_MAX_IMAGE_MB") or 64) * 2**20
