"""Read the `metadata.jsonl` or `metadata.csv` of a folder of images: the imagefolder convention of Hugging Face.

Each row describes an image by its `file_name`, relative to the metadata's folder. If several rows describe one image,
each row holds a reference. The rows are kept on disk, because there may be millions.
"""

import json
import posixpath
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.dataset.source_files import METADATA
from ray_jobs.inputs.errors import InputError
from ray_jobs.sources.cells.columns import check_column, check_truth_columns
from ray_jobs.sources.cells.texts import escape_unencodable
from ray_jobs.sources.cells.values import read_texts
from ray_jobs.sources.listing.spill import open_database
from ray_jobs.sources.rows.row_files import read_rows
from ray_jobs.sources.rows.splits import RowSplits, split_column_of_row
from ray_jobs.storage import objects

TABLE = (
    "described (name BLOB PRIMARY KEY, number INTEGER, label TEXT, refs TEXT, fault TEXT, written TEXT, file TEXT, "
    "chosen INTEGER, truth TEXT, "
    "there INTEGER DEFAULT 0) WITHOUT ROWID"
)


@dataclass(frozen=True)
class DescribedImage:
    """The metadata of an image. `is_chosen`: the image is in the suite's split. `file` is the metadata file."""

    file_name: str
    label: str | None
    references: list[str]
    file: str
    is_chosen: bool
    fault: str = ""
    truth: str | None = None


class Metadata:
    """The rows by file name, and which files were found. `has_splits`: the rows name splits, so folders need not."""

    def __init__(self, opened: sqlite3.Connection, has_splits: bool) -> None:
        self.has_splits = has_splits
        self._opened = opened

    def find(self, key: str) -> DescribedImage | None:
        """Return the metadata of an existing file, or None, and mark the row as found."""
        mark = (
            "UPDATE described SET there = 1 WHERE name = ? RETURNING written, label, refs, file, chosen, fault, truth"
        )
        row = self._opened.execute(mark, (_id(key),)).fetchone()
        if row is None and "\\" in key:
            row = self._opened.execute(mark, (_id(key.replace("\\", "/")),)).fetchone()
        return _build_image(row) if row else None

    def list_missing(self) -> Iterator[DescribedImage]:
        """Yield the rows whose file was not found, in the metadata's order."""
        query = "SELECT written, label, refs, file, chosen, fault, truth FROM described WHERE NOT there ORDER BY number"
        yield from map(_build_image, self._opened.execute(query))


def metadata_name(source: str, folder: str = "") -> str | None:
    """Return the metadata file of a folder below the source, or None. Raises InputError if the folder has two."""
    there = [name for name in METADATA if objects.exists(f"{source}/{folder}{name}")]
    if len(there) > 1:
        raise InputError(f"dataset {source}: has both {' and '.join(f'{folder}{name}' for name in there)}; remove one")
    return f"{folder}{there[0]}" if there else None


@contextmanager
def open_metadata(dataset: Dataset, names: Sequence[str]) -> Iterator[Metadata]:
    """Open the metadata files.

    Raises InputError for a row without a `file_name`, for a row that contradicts an earlier row of the same image, and
    if no row has a column that the dataset names.
    """
    with open_database(TABLE) as opened:
        columns: dict[str, None] = {}
        of_rows = RowSplits(dataset, " and ".join(f"{dataset.source}/{name}" for name in names[:3]))
        count, is_told = 0, False
        for name in names:
            uri, folder = f"{dataset.source}/{name}", name.rpartition("/")[0]
            for number, cells in read_rows(uri):
                file_name = cells.get("file_name")
                if not isinstance(file_name, str) or not file_name:
                    keys = escape_unencodable(", ".join(cells))[:100]
                    raise InputError(
                        f"dataset {uri}: line {number} has no text `file_name` ({keys}); rename the column"
                    )
                columns.update(dict.fromkeys(cells))
                column = split_column_of_row(cells)
                is_told = is_told or column in cells
                chosen = of_rows.takes(cells.get(column)) or column not in cells
                texts = read_texts(cells, dataset.label, dataset.references, dataset.truth)
                written = f"{folder}/{file_name}" if folder else file_name
                key = posixpath.normpath(written.replace("\\", "/"))  # Windows writes its paths with backslashes
                row = (
                    _id(key), count, texts.label, json.dumps(texts.references), texts.fault,
                    escape_unencodable(written), name, chosen, texts.truth,
                )  # fmt: skip
                values = (
                    "INSERT OR IGNORE INTO described (name, number, label, refs, fault, written, file, chosen, truth) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
                )
                if opened.execute(values, row).rowcount == 0:
                    _join(opened, row, f"dataset {uri}: line {number} names {file_name}")
                count += 1
        where = f"{dataset.source}/{names[0]}"
        check_column(dataset.references, "references", where, list(columns))
        check_column(dataset.label, "label", where, list(columns))
        check_truth_columns(dataset, where, list(columns))
        if is_told:
            of_rows.check()
        yield Metadata(opened, is_told)


def _join(opened: sqlite3.Connection, row: tuple[Any, ...], where: str) -> None:
    """Add the references of a further row to the image's metadata. Raises InputError if the two rows contradict."""
    query = "SELECT label, refs, fault, chosen, truth FROM described WHERE name = ?"
    label, refs, fault, chosen, truth = opened.execute(query, row[:1]).fetchone()
    if label is not None and row[2] not in (None, label):
        raise InputError(f"{where} with the label {row[2]!r}, and with {label!r} before; give each file one label")
    if bool(chosen) != row[7]:
        raise InputError(f"{where} in two splits; give each file one")
    if truth != row[8]:
        raise InputError(f"{where} with the truth {escape_unencodable(str(row[8]))[:100]}, and with "
                         f"{escape_unencodable(str(truth))[:100]} "
                       "before; give each file one")  # fmt: skip
    joined = json.loads(refs)
    joined += [text for text in json.loads(row[3]) if text not in joined]
    values = (label if label is not None else row[2], json.dumps(joined), fault or row[4], row[0])
    opened.execute("UPDATE described SET label = ?, refs = ?, fault = ? WHERE name = ?", values)


def _id(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")  # names of files may be any bytes


def _build_image(row: tuple[str, str | None, str, str, int, str, str | None]) -> DescribedImage:
    return DescribedImage(row[0], row[1], json.loads(row[2]), row[3], bool(row[4]), row[5], row[6])
