"""Find images whose files have the same bytes. The first in the golden set's order stays. The others are rejected.

Rows of one image with one reference each are the commonest form of COCO and Flickr30k in Parquet files and shards. So
the first image gets the references of all others before the others are rejected. A job that continues after a kill
reaches the same result, because the first image has all references before any other image is rejected.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from typing import Any

from ray_jobs.sources.listing.spill import open_database

REPEATS = """
SELECT part, image_id, first, position FROM (
    SELECT part, position, image_id, ROW_NUMBER() OVER same AS number, FIRST_VALUE(image_id) OVER same AS first
    FROM images WINDOW same AS (PARTITION BY blake3 ORDER BY part, position)
) WHERE number > 1"""

JOINED = "LEFT JOIN joined j ON j.part = r.part AND j.image_id = r.image_id"
TABLES = (
    "images (part TEXT, position INTEGER, image_id TEXT, blake3 BLOB, refs TEXT)",
    "gains (part TEXT, image_id TEXT, refs TEXT)",
    "joined (part TEXT, image_id TEXT, PRIMARY KEY (part, image_id)) WITHOUT ROWID",
)
IN_GROUPS = """
SELECT blake3, part, image_id, refs FROM images
WHERE blake3 IN (SELECT blake3 FROM images GROUP BY blake3 HAVING COUNT(*) > 1) ORDER BY blake3, part, position"""


class Duplicates:
    """The hashes of all images, in a table on disk, so that memory does not grow with the number of images."""

    def __init__(self, table: sqlite3.Connection) -> None:
        self._table = table

    def add(self, part: str, image_ids: list[str], digests: list[str], references: list[str] | None = None) -> None:
        """Add the images of a part in order, with the BLAKE3 hash of their files (hex) and their references (JSON)."""
        rows = zip(image_ids, map(bytes.fromhex, digests), references or ["[]"] * len(image_ids), strict=True)
        self._table.executemany(
            "INSERT INTO images VALUES (?, ?, ?, ?, ?)",
            ((part, position, image_id, sha, refs) for position, (image_id, sha, refs) in enumerate(rows)),
        )

    def join(self) -> tuple[int, str]:
        """Decide which references each first image gets, and which images bring them. Call this before `drop_tasks`.

        Returns (number of references, image id) of the image that then has the most references; (0, "") when no image
        gets any.
        """
        most = (0, "")
        groups = groupby(self._table.execute(IN_GROUPS), key=itemgetter(0))
        for _, group in groups:
            (_, part, image_id, refs), *others = list(group)
            first_references: list[str] = json.loads(refs)
            all_references = list(
                dict.fromkeys([*first_references, *(text for row in others for text in json.loads(row[3]))])
            )
            if all_references != first_references:
                self._table.execute("INSERT INTO gains VALUES (?, ?, ?)", (part, image_id, json.dumps(all_references)))
                most = max(most, (len(all_references), image_id))
            texts = set(all_references)
            joined = [row for row in others if row[3] != "[]" and set(json.loads(row[3])) != texts]
            self._table.executemany("INSERT INTO joined VALUES (?, ?)", ((row[1], row[2]) for row in joined))
        return most

    def join_tasks(self) -> Iterator[dict[str, Any]]:
        """One task per part with images that get references: the part's name, and all references by image id (JSON)."""
        rows = self._table.execute("SELECT part, image_id, refs FROM gains ORDER BY part, image_id")
        for part, group in groupby(rows, key=itemgetter(0)):
            yield {"name": part, "references": json.dumps({image_id: json.loads(refs) for _, image_id, refs in group})}

    def drop_tasks(self) -> Iterator[dict[str, Any]]:
        """One task per part with images that equal an earlier image.

        A task has the part's name, and as JSON the id of the earlier image by image id, and the ids of the images that
        brought their own references.
        """
        rows = self._table.execute(
            f"SELECT r.part, r.image_id, r.first, j.image_id IS NOT NULL FROM ({REPEATS}) r {JOINED} "  # noqa: S608
            "ORDER BY r.part, r.position"
        )
        for part, group in groupby(rows, key=itemgetter(0)):
            listed = list(group)
            repeats = {image_id: first for _, image_id, first, _ in listed}
            joined = [image_id for _, image_id, _, is_joined in listed if is_joined]
            yield {"name": part, "repeats": json.dumps(repeats), "joined": json.dumps(joined)}


@contextmanager
def open_duplicates() -> Iterator[Duplicates]:
    """An empty table. Its data on disk is deleted afterwards."""
    with open_database(*TABLES) as table:
        yield Duplicates(table)
