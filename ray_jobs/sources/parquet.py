"""Parquet files with an image column: raw bytes, or the `{'bytes', 'path'}` struct of Hugging Face datasets."""

import bisect
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import pyarrow.parquet as pq

from ray_jobs import storage
from ray_jobs.contract import BadInput, Dataset, nearest
from ray_jobs.sources import Row, image_bytes, texts
from ray_jobs.sources.filesystem import arrow_filesystem

BATCH = 64  # rows decoded from Parquet at a time: images are large


class ParquetSource:
    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self._files: list[str] = []
        self._ends: list[int] = []

    def count(self) -> int:
        source = self.dataset.source
        keys = [entry.key for entry in storage.entries(source) if entry.key.endswith(".parquet")]
        self._files = [f"{source}/{key}" for key in keys] or [source]
        lengths = []
        for uri in self._files:
            with self._open(uri) as file:
                self._check_columns(uri, file.schema_arrow.names)
                lengths.append(file.metadata.num_rows)
        self._ends = list(accumulate(lengths))
        return self._ends[-1]

    def locate(self, indices: Sequence[int]) -> list[tuple[str, list[int]]]:
        by_file: dict[str, list[int]] = {}
        for index in indices:
            number = bisect.bisect_right(self._ends, index)
            start = self._ends[number - 1] if number else 0
            by_file.setdefault(self._files[number], []).append(index - start)
        return list(by_file.items())

    def read(self, located: list[tuple[str, list[int]]]) -> Iterator[Row]:
        for uri, rows in located:
            with self._open(uri) as file:
                yield from self._rows(uri, file, rows)

    def __getstate__(self) -> dict[str, Any]:
        return {"dataset": self.dataset, "_files": [], "_ends": []}  # workers read what was located, nothing else

    def _rows(self, uri: str, file: pq.ParquetFile, wanted: list[int]) -> Iterator[Row]:
        """The wanted rows of a file, reading only the row groups that hold some."""
        chosen, start = set(wanted), 0
        name = uri.removeprefix(self.dataset.source).lstrip("/") or uri.rsplit("/", 1)[-1]
        columns = [column for column in (self.dataset.image, self.dataset.label, self.dataset.references) if column]
        for group in range(file.num_row_groups):
            size = file.metadata.row_group(group).num_rows
            if not any(start <= row < start + size for row in wanted):
                start += size
                continue
            for batch in file.iter_batches(BATCH, row_groups=[group], columns=columns):
                for offset in range(batch.num_rows):
                    if start + offset in chosen:
                        yield self._row(f"{name}#{start + offset}", batch.slice(offset, 1).to_pylist()[0])
                start += batch.num_rows

    def _row(self, image_id: str, cells: dict[str, Any]) -> Row:
        data, detail = image_bytes(cells[self.dataset.image])
        label = cells.get(self.dataset.label) if self.dataset.label else None
        references = texts(cells.get(self.dataset.references)) if self.dataset.references else []
        return Row(image_id, data, None if label is None else str(label), references, detail)

    def _open(self, uri: str) -> pq.ParquetFile:
        filesystem, path = arrow_filesystem(uri)
        try:
            return pq.ParquetFile(filesystem.open_input_file(path))
        except FileNotFoundError:
            raise BadInput(f"dataset {uri}: no such file; check the URI") from None
        except (OSError, ValueError) as error:
            raise BadInput(f"dataset {uri}: not readable as Parquet: {' '.join(str(error).split())}") from None

    def _check_columns(self, uri: str, names: list[str]) -> None:
        asked = (("image", self.dataset.image), ("label", self.dataset.label), ("references", self.dataset.references))
        for what, column in asked:
            if column and column not in names:
                raise BadInput(f"dataset {uri}: no column {column!r} for {what}{nearest(column, names)}")
