"""What `metadata.jsonl` or `metadata.csv` says of a folder's images: the Hugging Face imagefolder convention.

One row an image, its `file_name` relative to the folder. The rows are kept on disk: there may be millions.
"""

import json
import posixpath
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ray_jobs import storage
from ray_jobs.contract import BadInput, Dataset
from ray_jobs.sources.cells import printable, read_texts
from ray_jobs.sources.columns import check
from ray_jobs.sources.on_disk import database
from ray_jobs.sources.rows import rows

METADATA = ("metadata.jsonl", "metadata.csv")
TABLE = (
    "described (name BLOB PRIMARY KEY, number INTEGER, label TEXT, refs TEXT, fault TEXT, written TEXT, "
    "there INTEGER DEFAULT 0) WITHOUT ROWID"
)


@dataclass(frozen=True)
class Described:
    """A row of the metadata; `number` is its line."""

    file_name: str
    label: str | None
    references: list[str]
    fault: str = ""


class Metadata:
    """The rows by file name, and which of the files were found."""

    def __init__(self, name: str, opened: sqlite3.Connection) -> None:
        self.name = name
        self._opened = opened

    def found(self, key: str) -> Described | None:
        """What is said of a file that is there, None when nothing is."""
        mark = "UPDATE described SET there = 1 WHERE name = ? RETURNING written, label, refs, fault"
        row = self._opened.execute(mark, (_id(key),)).fetchone()
        if row is None and "\\" in key:
            row = self._opened.execute(mark, (_id(key.replace("\\", "/")),)).fetchone()
        return _described(row) if row else None

    def missing(self) -> Iterator[Described]:
        """The rows whose file was not found, in the metadata's order."""
        query = "SELECT written, label, refs, fault FROM described WHERE NOT there ORDER BY number"
        yield from map(_described, self._opened.execute(query))


def metadata_name(source: str) -> str | None:
    """The metadata file that a folder has, if any. Raises BadInput for a folder that has two."""
    there = [name for name in METADATA if storage.exists(f"{source}/{name}")]
    if len(there) > 1:
        raise BadInput(f"dataset {source}: has both {' and '.join(there)}; remove one")
    return there[0] if there else None


@contextmanager
def metadata(dataset: Dataset, name: str) -> Iterator[Metadata]:
    """The folder's metadata. Raises BadInput for a row without a `file_name`, a second one for a file, and when none
    of the rows has a column that the dataset names."""
    uri = f"{dataset.source}/{name}"
    with database(TABLE) as opened:
        columns: dict[str, None] = {}
        for number, cells in rows(uri):
            file_name = cells.get("file_name")
            if not isinstance(file_name, str) or not file_name:
                raise BadInput(f"dataset {uri}: line {number} is not an object with a `file_name`")
            columns.update(dict.fromkeys(cells))
            texts = read_texts(cells, dataset.label, dataset.references)
            key = posixpath.normpath(file_name.replace("\\", "/"))  # Windows writes its paths with backslashes
            row = (_id(key), number, texts.label, json.dumps(texts.references), texts.fault, printable(file_name))
            values = (
                "INSERT OR IGNORE INTO described (name, number, label, refs, fault, written) VALUES (?, ?, ?, ?, ?, ?)"
            )
            if opened.execute(values, row).rowcount == 0:
                raise BadInput(f"dataset {uri}: line {number} names {file_name} a second time; give each file one line")
        check(dataset.references, "references", uri, list(columns))
        check(dataset.label, "label", uri, list(columns))
        yield Metadata(name, opened)


def _id(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")  # names of files may be any bytes


def _described(row: tuple[str, str | None, str, str]) -> Described:
    return Described(row[0], row[1], json.loads(row[2]), row[3])
