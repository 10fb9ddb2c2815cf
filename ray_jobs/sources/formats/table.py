"""List and read tables, for the Parquet and the Arrow format: shards of blocks of rows, with an image in each row.

The place of a row is written `{shard}#{block}.{row in the block}`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby, islice, repeat
from typing import Any, Protocol

import pyarrow as pa

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.dataset.source_files import parse_partitions
from ray_jobs.inputs.errors import InputError
from ray_jobs.runtime.prefetch import prefetch
from ray_jobs.sources.cells.columns import Columns, choose_columns, log_columns
from ray_jobs.sources.cells.images import read_image
from ray_jobs.sources.cells.labels import name_label, read_label_names
from ray_jobs.sources.cells.texts import CellFault
from ray_jobs.sources.cells.values import RowTexts, read_label, read_texts
from ray_jobs.sources.formats.shards import list_shards, needs_split_column, shard_title, uri_of
from ray_jobs.sources.reading.fetch import FetchedImage, distance_of, fetch_cell, reads_at_once, resolve_path
from ray_jobs.sources.rows.splits import COLUMN as SPLIT
from ray_jobs.sources.rows.splits import RowSplits, split_column
from ray_jobs.sources.source import Distance, ImageRef, SourceImage
from ray_jobs.storage.arrow_files import explain_arrow_errors
from ray_jobs.storage.arrow_guard import check_batch

MOST_OTHERS = 50  # files opened to learn the type of a column without values; the column may be empty in all files


@dataclass(frozen=True)
class Block:
    """Rows that are read together. `size` is an estimate of the bytes of one image, 0 if unknown."""

    rows: int
    size: int


class TableFile(Protocol):
    """One open shard. `size` is the size of the file in bytes."""

    @property
    def size(self) -> int: ...

    @property
    def schema(self) -> pa.Schema:
        """The columns, with the metadata of `datasets` if that library wrote the file."""

    def blocks(self, image: str) -> Iterator[Block]:
        """Yield the blocks, without reading the images if the format allows that."""

    def batches(self, block: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of one block in order, in small batches."""


Open = Callable[[str], AbstractContextManager[TableFile]]


@dataclass(frozen=True)
class TableSource:
    """A source of files with one of the suffixes. `open_file` opens a file, `what` names the format in errors."""

    dataset: Dataset
    what: str
    suffixes: tuple[str, ...]
    open_file: Open

    @property
    def distance(self) -> Distance:
        """Return the distance of the files, or of the first image if the files hold only places of images."""
        for shard in list_shards(self.dataset, self.suffixes, has_columns=True):
            uri = uri_of(self.dataset, shard)
            with self._open(uri) as file:
                if file.schema.names:
                    columns = self._choose_columns(shard, file.schema, None)
                    return distance_of(self._find_first_place(uri, file, columns.image) if columns.places else uri)
        return distance_of(self.dataset.source)

    def list_images(self) -> Iterator[ImageRef]:
        first: Columns | None = None
        names = read_label_names(self.dataset)
        rows = RowSplits(self.dataset, self.dataset.source)
        by_column = False
        for shard in list_shards(self.dataset, self.suffixes, has_columns=True):
            uri = uri_of(self.dataset, shard)
            with self._open(uri) as file:
                if not file.schema.names:
                    continue  # a writer without rows left an empty schema
                columns = self._choose_columns(shard, file.schema, first)
                if first is None:
                    first = columns
                    log_columns(self.dataset, columns)
                if columns.image != first.image:
                    raise InputError(
                        f"dataset {uri}: its images seem to be in {columns.image!r}, those of the files before it in "
                        f"{first.image!r}; set `dataset.image`"
                    )
                is_told = split_column(file.schema.names) is not None and self.dataset.split is None
                asks_rows = is_told or needs_split_column(self.dataset, shard)
                by_column = by_column or asks_rows
                yield from self._list_file(shard, file, columns, names or columns.names, rows if asks_rows else None)
        if by_column:
            rows.check()

    def read(self, located: Sequence[ImageRef]) -> Iterator[SourceImage]:
        given_names = read_label_names(self.dataset)
        for (shard, faulty), refs in groupby(located, key=lambda ref: (ref.where.rpartition("#")[0], bool(ref.fault))):
            if faulty:
                yield from (SourceImage(ref.image_id, None, detail=ref.fault) for ref in refs)
                continue
            uri = uri_of(self.dataset, shard)
            with self._open(uri) as file:
                columns = choose_columns(self.dataset, uri, file.schema, parse_partitions(shard))
                names = given_names or columns.names
                cells = self._read_cells(uri, file, columns, list(refs))
                for ref, texts, fetched in self._fetch_cells(uri, columns, cells):
                    name, label_id = name_label(texts.label, names, self.dataset)
                    references, truth = texts.references, texts.truth
                    yield SourceImage(
                        ref.image_id, fetched.data, fetched.file, name, label_id, references, fetched.detail, truth
                    )

    def _choose_columns(self, shard: str, schema: pa.Schema, first: Columns | None) -> Columns:
        """Return the columns of one file. A column without values has no type there, so other files are searched."""
        uri, partitions = uri_of(self.dataset, shard), parse_partitions(shard)
        untyped = [str(field.name) for field in schema if pa.types.is_null(field.type)]
        if not untyped or self.dataset.image:
            return choose_columns(self.dataset, uri, schema, partitions)
        if first:
            return choose_columns(
                self.dataset, uri, schema, partitions, first.image if first.image in untyped else None
            )
        for other in islice(list_shards(self.dataset, self.suffixes, has_columns=True), MOST_OTHERS):
            name = uri_of(self.dataset, other)
            with self._open(name) as file, suppress(InputError):
                columns = choose_columns(self.dataset, name, file.schema, parse_partitions(other))
                if columns.image in untyped and not pa.types.is_null(file.schema.field(columns.image).type):
                    return choose_columns(self.dataset, uri, schema, partitions, columns.image)
                if {field.name for field in file.schema if not pa.types.is_null(field.type)}.issuperset(untyped):
                    break
        return choose_columns(self.dataset, uri, schema, partitions)

    def _find_first_place(self, uri: str, file: TableFile, image: str) -> str:
        """Return the place of the first image in a file of places, or the file's URI if the first row names none."""
        for batch in file.batches(0, [image]) if next(file.blocks(image), None) else ():
            check_batch(batch, uri)
            with suppress(CellFault):
                place = read_image(batch.column(0)[0].as_py()) if len(batch) else None
                return resolve_path(_folder(uri), place) if isinstance(place, str) else uri
        return uri

    def _list_file(
        self, shard: str, file: TableFile, columns: Columns, names: Any, splits: RowSplits | None
    ) -> Iterator[ImageRef]:
        number, title = 0, shard_title(self.dataset, shard)
        split = split_column(file.schema.names) or SPLIT
        untyped = pa.types.is_null(file.schema.field(columns.image).type)
        fault = f"the image cell is empty, as all of {columns.image!r} in this file" if untyped else ""
        for index, block in enumerate(file.blocks(columns.image)):
            if block.rows < 0 or number + block.rows > file.size:  # a footer may claim any number
                claim = f"claims {number + block.rows} rows in {file.size} bytes"
                raise InputError(f"dataset {uri_of(self.dataset, shard)}: {claim}; write the file again")
            label_column = columns.label if self.dataset.stratify else None
            labels = self._read_labels(file, index, label_column, columns) if label_column else None
            split_names = self._read_labels(file, index, split, columns) if splits else None
            for row in range(block.rows):
                label = next(labels) if labels else None
                if splits is None or split_names is None or splits.takes(next(split_names)):
                    name_label(label, names, self.dataset)  # report a listed label without a name now
                    where = f"{shard}#{index}.{row}"
                    yield ImageRef(f"{title}#{number}", where, block.size, label, fault=fault)
                number += 1

    def _read_labels(self, file: TableFile, block: int, column: str, columns: Columns) -> Iterator[str | None]:
        """Yield the value of each row of the block in a column, or of a folder with that name, else None."""
        if column not in file.schema.names:
            yield from repeat(columns.partition_values.get(column))  # endless: the caller knows the count of rows
        for batch in file.batches(block, [column]):
            check_batch(batch, self.dataset.source)
            yield from map(read_listed_label, batch.column(0).to_pylist())

    def _read_cells(
        self, uri: str, file: TableFile, columns: Columns, located: list[ImageRef]
    ) -> Iterator[tuple[ImageRef, dict[str, Any]]]:
        """Yield the cells of the located rows of a shard, in that order. Sorted rows need one pass over each block."""
        block_rows = [tuple(map(int, ref.where.rpartition("#")[2].split("."))) for ref in located]
        index, column_names = 0, columns.names_to_read()
        while index < len(located):
            block, row = block_rows[index]
            start, first_of_pass = 0, index
            for batch in file.batches(block, column_names):
                check_batch(batch, uri)  # a name with a dot may have brought another column
                while (
                    index < len(located)
                    and block_rows[index][0] == block
                    and start <= (row := block_rows[index][1]) < start + len(batch)
                ):
                    cells = batch.slice(row - start, 1).to_pylist()[0]
                    yield located[index], cells | dict(columns.partition_values)
                    index += 1
                start += len(batch)
                if (
                    index == len(located)
                    or block_rows[index][0] != block
                    or (index > first_of_pass and block_rows[index][1] < start)
                ):
                    break
            if index == first_of_pass:
                raise InputError(f"dataset {uri}: has no row {row} in block {block} any more; it changed: plan again")

    def _fetch_cells(
        self, uri: str, columns: Columns, cells: Iterator[tuple[ImageRef, dict[str, Any]]]
    ) -> Iterator[tuple[ImageRef, RowTexts, FetchedImage]]:
        def fetch(item: tuple[ImageRef, dict[str, Any]]) -> tuple[ImageRef, RowTexts, FetchedImage]:
            ref, row = item
            texts = read_texts(row, columns.label, columns.references, self.dataset.truth, columns.truth)
            if texts.fault:
                return ref, texts, FetchedImage(detail=texts.fault)
            return ref, texts, fetch_cell(row[columns.image], _folder(uri))

        if not columns.places:
            return map(fetch, cells)
        return prefetch(fetch, cells, reads_at_once(self.dataset, "web"))

    @contextmanager
    def _open(self, uri: str) -> Iterator[TableFile]:
        with explain_arrow_errors(uri, f"readable as {self.what}"), self.open_file(uri) as file:
            yield file


def read_listed_label(cell: Any) -> str | None:
    """Return the label in a cell for the sample, or None for a faulty cell, which is reported when its row is read."""
    try:
        return read_label(cell)
    except CellFault:
        return None


def _folder(uri: str) -> str:
    return uri.rpartition("/")[0]
