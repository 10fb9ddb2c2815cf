"""Where images come from: a source lists what it has, one image after the other, and reads what it is asked for.

`listed` runs on the driver and streams; `read` runs in a Ray task. What lies between them is a table on disk.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from ray_jobs import storage
from ray_jobs.contract import BadInput, Dataset
from ray_jobs.plan import is_hub_name

Distance = Literal["local", "object-store", "web"]


@dataclass(frozen=True)
class Located:
    """One image as the listing has it. `where` is for `read`; `size` in bytes, 0 when the listing does not tell."""

    image_id: str
    where: str
    size: int = 0
    label: str | None = None
    references: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
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


class Source(Protocol):
    distance: Distance
    """How far away the bytes lie: it decides how many are read at once."""

    def listed(self) -> Iterator[Located]:
        """Every image, in an order that depends on the content alone; labels at least where the sample needs them.

        Raises BadInput when the source is not what its settings say. A row that cannot be an image is listed too: what
        is not listed is not counted.
        """

    def read(self, located: Sequence[Located]) -> Iterator[Row]:
        """The located images, in that order. Raises Trouble when trying again may help."""
