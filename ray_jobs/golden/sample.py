"""Choose the images of a listing that are used, in a table on disk, so that memory does not grow with the collection.

The draw of an image is a hash of the seed and its id, and does not depend on its place in the listing. So the sample is
the same for every order and every cluster. A collection that grows keeps most of its sample.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.inputs.errors import InputError
from ray_jobs.sources.listing.spill import open_database
from ray_jobs.sources.source import ImageRef

IMAGES = """images (
    position INTEGER PRIMARY KEY, image_id TEXT, location TEXT, size INTEGER, label TEXT, refs TEXT, fault TEXT,
    truth TEXT,
    draw INTEGER, chosen INTEGER DEFAULT 1
)"""

# Within a label, images are ranked by draw. Across labels, they are ranked by the odd divisors 1, 3, 5, ... of the
# labels' counts (Webster's method). So a label has nearly the same share of the sample as of the collection.
RANKED = """
SELECT position FROM (
    SELECT position, draw, (ROW_NUMBER() OVER stratum - 0.5) / COUNT(*) OVER (PARTITION BY label) AS rank
    FROM images WINDOW stratum AS (PARTITION BY label ORDER BY draw, position)
) ORDER BY rank, draw, position LIMIT ?"""
DRAWN = "SELECT position FROM images ORDER BY draw, position LIMIT ?"


class Sample:
    """The images that a dataset's settings choose from a listing, in the order of the listing."""

    def __init__(self, dataset: Dataset, table: sqlite3.Connection) -> None:
        self.dataset, self._table = dataset, table

    def draw(self, listed: Iterable[ImageRef]) -> int:
        """Store the listing and choose the sample. Returns the number of listed images.

        Raises InputError when two images have the same id, and for an id that is not UTF-8.
        """
        self._table.executemany(
            "INSERT INTO images (image_id, location, size, label, refs, fault, truth, draw) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            map(self._build_row, listed),
        )
        try:
            self._table.execute("CREATE UNIQUE INDEX by_id ON images (image_id)")
        except sqlite3.IntegrityError:
            raise InputError(
                f"dataset {self.dataset.source}: two images are called {self._find_repeated_id()!r}"
            ) from None
        (count,) = self._table.execute("SELECT COUNT(*) FROM images").fetchone()
        if self.dataset.limit is not None and self.dataset.limit < count:
            chosen = RANKED if self.dataset.stratify else DRAWN
            self._table.execute(
                f"UPDATE images SET chosen = 0 WHERE position NOT IN ({chosen})",  # noqa: S608 (one of our own two)
                (self.dataset.limit,),
            )
        return int(count)

    def total(self) -> tuple[int, int]:
        """(number of chosen images, their bytes). The bytes are too few when the listing lacks sizes."""
        images, size = self._table.execute("SELECT COUNT(*), TOTAL(size) FROM images WHERE chosen").fetchone()
        return images, int(size)

    def __iter__(self) -> Iterator[ImageRef]:
        for row in self._table.execute(
            "SELECT image_id, location, size, label, refs, fault, truth FROM images WHERE chosen ORDER BY position"
        ):
            yield ImageRef(row[0], row[1], row[2], row[3], json.loads(row[4]), row[5], row[6])

    def _build_row(self, ref: ImageRef) -> tuple[str | int | None, ...]:
        try:
            text = f"{self.dataset.seed}\n{ref.image_id}".encode()
        except UnicodeEncodeError:
            raise InputError(f"dataset {self.dataset.source}: {ref.image_id!r} is not UTF-8; rename the file") from None
        draw = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), signed=True)
        return ref.image_id, ref.where, ref.size, ref.label, json.dumps(ref.references), ref.fault, ref.truth, draw

    def _find_repeated_id(self) -> str:
        """The first image id that occurs more than once."""
        (image_id,) = self._table.execute(
            "SELECT image_id FROM images GROUP BY image_id HAVING COUNT(*) > 1 ORDER BY image_id LIMIT 1"
        ).fetchone()
        return str(image_id)


@contextmanager
def open_sample(dataset: Dataset) -> Iterator[Sample]:
    """An empty sample. Its data on disk is deleted afterwards."""
    with open_database(IMAGES) as table:
        yield Sample(dataset, table)
