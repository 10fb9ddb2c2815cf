"""The most bytes that one image file may have, wherever it comes from."""

import os


def max_image_bytes() -> int:
    """ASSAY_MAX_IMAGE_MB in bytes, or 64 MiB."""
    return int(os.environ.get("ASSAY_MAX_IMAGE_MB") or 64) * 2**20
