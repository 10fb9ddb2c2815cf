"""The protocol of a source: it lists its images, and reads those that it is asked for.

`list_images` streams in a process that the driver starts; `read` runs in a process that a Ray worker starts. The plan
of the golden set, on disk, carries the images from one to the other.
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
    """One image as the listing has it. `where` is for `read`; `size` in bytes, 0 when the listing does not tell.

    `label` is as the source writes it: its id where `read` gives a name. `fault` is why it cannot be read, if it is
    known by now: what its row holds of label or references is of no use. `truth` are the right values of fields, as
    JSON.
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
    """One image as the source has it: its bytes, or the local file to read, or neither, and `detail` says why.

    `label` is the name of the class, `label_id` what the source has for it.
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
        """How far away the bytes lie: it decides how many are read at once."""

    def list_images(self) -> Iterator[ImageRef]:
        """Every image, in an order that depends on the content alone; labels at least where the sample needs them.

        Raises InputError when the source is not what its settings say. A row that cannot be an image is listed too:
        an image that is not listed is not counted.
        """

    def read(self, located: Sequence[ImageRef]) -> Iterator[SourceImage]:
        """The located images, in that order. Raises RetryableError when trying again may help."""
