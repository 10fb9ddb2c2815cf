"""Define the protocol of a source: a source lists its images, and reads the images that it gets.

`list_images` runs in a process that the driver starts. `read` runs in a process that a Ray worker starts. The plan of
the golden set, on disk, carries the listed images from the first process to the second.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from ray_jobs.dataset import image_formats
from ray_jobs.dataset.source_files import MANIFESTS

SUFFIXES = {
    "manifest": MANIFESTS,
    "parquet": (".parquet",),
    "arrow": (".arrow", ".feather"),
    "webdataset": (".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz"),
    "folder": image_formats.SUFFIXES,
}

Distance = Literal["local", "object-store", "web"]


@dataclass(frozen=True)
class ImageRef:
    """One image in a listing. `where` tells `read` the place. `size` is in bytes, and 0 when the listing has no size.

    `label` is the source's own text: the id, when `read` gives a name. `fault` says why the image cannot be read, for
    example because the references in its row cannot be used. `fault` is empty when the listing knows no fault. `truth`
    has the right values of fields, as JSON.
    """

    image_id: str
    where: str
    size: int = 0
    label: str | None = None
    references: list[str] = field(default_factory=list)
    fault: str = ""
    truth: str | None = None


@dataclass(frozen=True)
class SourceImage:
    """One image from the source: its bytes, or the local file to read, or neither. In the last case `detail` says why.

    `label` is the name of the class. `label_id` is the source's own id of the class.
    """

    image_id: str
    data: bytes | None
    file: Path | None = None
    label: str | None = None
    label_id: str | None = None
    references: list[str] = field(default_factory=list)
    detail: str = ""
    truth: str | None = None


class Source(Protocol):
    @property
    def distance(self) -> Distance:
        """How far away the bytes are. The distance decides how many images are read at once."""

    def list_images(self) -> Iterator[ImageRef]:
        """Every image, in an order that depends only on the content. Has labels at least where the sample needs them.

        A row that cannot be an image is listed too, because an image that is not listed is not counted. Raises
        InputError when the settings do not fit the source.
        """

    def read(self, located: Sequence[ImageRef]) -> Iterator[SourceImage]:
        """The located images, in the same order. Raises RetryableError when another try may succeed."""
