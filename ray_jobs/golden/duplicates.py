"""Images whose files are the same bytes: the first in the golden set's order stays, the others are rejected."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray_jobs.sources.on_disk import database

REPEATS = """
SELECT part, image_id, first FROM (
    SELECT part, position, image_id, ROW_NUMBER() OVER same AS number, FIRST_VALUE(image_id) OVER same AS first
    FROM images WINDOW same AS (PARTITION BY blake3 ORDER BY part, position)
) WHERE number > 1 ORDER BY part, position"""


class Duplicates:
    """The hashes of all images, in a table on disk: memory does not grow with them."""

    def __init__(self, table: sqlite3.Connection) -> None:
        self._table = table

    def add(self, part: str, image_ids: list[str], digests: list[str]) -> None:
        """The images of a part in order, each with the BLAKE3 hash of its file in hex digits."""
        rows = zip(image_ids, map(bytes.fromhex, digests), strict=True)
        self._table.executemany(
            "INSERT INTO images VALUES (?, ?, ?, ?)",
            ((part, position, image_id, sha) for position, (image_id, sha) in enumerate(rows)),
        )

    def tasks(self) -> Iterator[dict[str, Any]]:
        """For each part with images that an earlier one equals: its name, and as JSON which image equals which."""
        name = ""
        repeats: dict[str, str] = {}
        for part, image_id, first in self._table.execute(REPEATS):
            if part != name and repeats:
                yield {"name": name, "repeats": json.dumps(repeats)}
                repeats = {}
            name = part
            repeats[image_id] = first
        if repeats:
            yield {"name": name, "repeats": json.dumps(repeats)}


@contextmanager
def hashes() -> Iterator[Duplicates]:
    """An empty table; what it holds on disk is gone afterwards."""
    with database("images (part TEXT, position INTEGER, image_id TEXT, blake3 BLOB)") as table:
        yield Duplicates(table)
