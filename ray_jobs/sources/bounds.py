"""The most that a listing may be, whatever the files claim: it lies on the driver's disk."""

import os
from collections.abc import Iterable, Iterator

from ray_jobs.contract import BadInput
from ray_jobs.sources import Located

IMAGES, MEGABYTES = 20_000_000, 16_384
MOST_LINE = 16 * 2**20  # bytes of a line of a manifest


def limit_listing(source: str, listed: Iterable[Located]) -> Iterator[Located]:
    """The listed images. Raises BadInput after ASSAY_MAX_IMAGES of them or ASSAY_MAX_LISTING_MB of their texts."""
    most = int(os.environ.get("ASSAY_MAX_IMAGES") or IMAGES)
    megabytes = int(os.environ.get("ASSAY_MAX_LISTING_MB") or MEGABYTES)
    size = 0
    for count, image in enumerate(listed, 1):
        size += len(image.image_id) + len(image.where) + len(image.label or "") + sum(map(len, image.references))
        if count > most:
            raise BadInput(f"dataset {source}: lists over {most} images; split it, or raise ASSAY_MAX_IMAGES")
        if size > megabytes * 1_000_000:
            fault = f"its names and references are over {megabytes} MB"
            raise BadInput(f"dataset {source}: {fault}; split it, or raise ASSAY_MAX_LISTING_MB")
        yield image
