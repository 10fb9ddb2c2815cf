"""Images whose files are the same bytes: the first in the golden set's order stays, the others are rejected."""

import json
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

REPEATS = """
SELECT part, image_id, first FROM (
    SELECT part, position, image_id, ROW_NUMBER() OVER same AS number, FIRST_VALUE(image_id) OVER same AS first
    FROM images WINDOW same AS (PARTITION BY sha256 ORDER BY part, position)
) WHERE number > 1 ORDER BY part, position"""


class Duplicates:
    """The hashes of all images, in a table on disk: memory does not grow with them. Use as a context."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="assay-hashes-")
        self._table = sqlite3.connect(Path(self._folder.name, "hashes.sqlite"), isolation_level=None)
        self._table.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA temp_store=FILE;"
            "CREATE TABLE images (part TEXT, position INTEGER, image_id TEXT, sha256 BLOB)"
        )

    def add(self, part: str, image_ids: list[str], hashes: list[str]) -> None:
        rows = zip(image_ids, map(bytes.fromhex, hashes), strict=True)
        self._table.execute("BEGIN")
        self._table.executemany(
            "INSERT INTO images VALUES (?, ?, ?, ?)",
            ((part, position, image_id, sha) for position, (image_id, sha) in enumerate(rows)),
        )
        self._table.execute("COMMIT")

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._table.close()
        self._folder.cleanup()
