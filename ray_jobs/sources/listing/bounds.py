"""Bound the size of a listing, whatever the files claim, because the listing is stored on the driver's disk.

The readers of rows and `golden.part_plan` call this module.
"""

import os
from collections.abc import Iterable, Iterator

from ray_jobs.inputs.errors import InputError
from ray_jobs.sources.source import ImageRef

IMAGES, MEGABYTES = 20_000_000, 16_384
MOST_LINE = 16 * 2**20  # the most bytes of a line of a manifest


class ListingLimit:
    """Counts the rows of a source that are kept on disk, because a small packed file may have any number of rows."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._most = int(os.environ.get("ASSAY_MAX_IMAGES") or IMAGES)
        self._megabytes = int(os.environ.get("ASSAY_MAX_LISTING_MB") or MEGABYTES)
        self._count = self._size = 0

    def add(self, image: ImageRef) -> None:
        """Count an image. Raises InputError after ASSAY_MAX_IMAGES images, and when `add_text` does."""
        self._count += 1
        if self._count > self._most:
            fault = f"lists over {self._most} images; split it, or raise ASSAY_MAX_IMAGES"
            raise InputError(f"dataset {self._source}: {fault}")
        self.add_text(
            len(image.image_id) + len(image.where) + len(image.label or "") + sum(map(len, image.references))
            + len(image.fault) + len(image.truth or "")
        )  # fmt: skip

    def add_text(self, size: int) -> None:
        """Count `size` characters. Raises InputError after ASSAY_MAX_LISTING_MB million characters."""
        self._size += size
        if self._size > self._megabytes * 1_000_000:
            fault = f"its names and references are over {self._megabytes} MB"
            raise InputError(f"dataset {self._source}: {fault}; split it, or raise ASSAY_MAX_LISTING_MB")


def limit_listing(source: str, listed: Iterable[ImageRef]) -> Iterator[ImageRef]:
    """The listed images. Raises InputError after ASSAY_MAX_IMAGES images or ASSAY_MAX_LISTING_MB of their texts."""
    limit = ListingLimit(source)
    for image in listed:
        limit.add(image)
        yield image
