"""Read Parquet files with an image column: bytes, the `{'bytes', 'path'}` struct of Hugging Face, or paths.

`open_source` calls this module. `table` lists and reads the row groups.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.sources.formats.table import Block, TableSource
from ray_jobs.sources.source import SUFFIXES
from ray_jobs.storage.arrow_files import open_arrow
from ray_jobs.storage.arrow_guard import check_parquet

BATCH = 16  # rows that are decoded at a time, because images are large
BUFFER = 4 * 2**20  # bytes of a column chunk that are read at a time, because a row group may be larger than the memory


def parquet_source(dataset: Dataset) -> TableSource:
    return TableSource(dataset, "Parquet", SUFFIXES["parquet"], open_parquet)


@dataclass(frozen=True)
class ParquetShard:
    """A Parquet file. Its blocks are its row groups."""

    file: pq.ParquetFile
    schema: pa.Schema
    size: int

    def blocks(self, image: str) -> Iterator[Block]:
        for number in range(self.file.num_row_groups):
            group = self.file.metadata.row_group(number)
            chunks = (group.column(index) for index in range(group.num_columns))
            leaves = [chunk for chunk in chunks if f"{chunk.path_in_schema}.".startswith(f"{image}.")]
            size = sum(chunk.total_uncompressed_size for chunk in leaves)
            yield Block(group.num_rows, size // max(group.num_rows, 1))

    def batches(self, block: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        yield from self.file.iter_batches(BATCH, row_groups=[block], columns=columns)


@contextmanager
def open_parquet(uri: str) -> Iterator[ParquetShard]:
    with open_arrow(uri) as opened:
        check_parquet(opened, uri)
        with pq.ParquetFile(opened, buffer_size=BUFFER, pre_buffer=False) as file:
            yield ParquetShard(file, file.schema_arrow, opened.size())
