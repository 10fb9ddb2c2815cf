"""Read Arrow IPC files, `.arrow` and `.feather`, in the file format or in the stream format of `datasets`.

`open_source` calls this module. `table` lists and reads the blocks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pyarrow as pa

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.sources.formats.table import Block, TableSource
from ray_jobs.sources.source import SUFFIXES
from ray_jobs.storage import uris
from ray_jobs.storage.arrow_files import open_arrow
from ray_jobs.storage.arrow_guard import check_ipc

MAGIC = b"ARROW1"  # the file format begins with this; a stream does not
BATCH = 16  # rows per batch


def arrow_source(dataset: Dataset) -> TableSource:
    return TableSource(dataset, "Arrow IPC", SUFFIXES["arrow"], open_ipc)


@dataclass
class ArrowShard:
    """An Arrow file. Its blocks are its record batches."""

    opened: Any
    local: bool
    size: int
    schema: pa.Schema = field(init=False)

    def __post_init__(self) -> None:
        self.is_file = self.opened.read(len(MAGIC)) == MAGIC
        self.schema = self._reader().schema

    def blocks(self, image: str) -> Iterator[Block]:
        """Yield the blocks. On S3 this reads a column other than the images if possible: the batches have no index."""
        others = [name for name in self.schema.names if name != image]
        cheap = image if self.local or not others or not self.is_file else others[0]
        reader = self._reader([cheap])
        for batch in self._all(reader):
            batch.validate(full=True)  # the size below comes from the offsets of the batch
            size = batch.column(image).nbytes // max(len(batch), 1) if image in batch.schema.names else 0
            yield Block(len(batch), size)

    def batches(self, block: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        reader = self._reader(columns)
        whole: Any = reader.get_batch(block) if self.is_file else next(islice(self._all(reader), block, None), None)
        for start in range(0, len(whole) if whole else 0, BATCH):
            yield whole.select(columns).slice(start, BATCH)

    def _all(self, reader: Any) -> Iterator[pa.RecordBatch]:
        if self.is_file:
            yield from (reader.get_batch(number) for number in range(reader.num_record_batches))
        else:
            yield from reader

    def _reader(self, columns: list[str] | None = None) -> Any:
        """Return a reader of these columns from the start of the file. None means all columns."""
        self.opened.seek(0)
        chosen = None if columns is None else [self.schema.get_field_index(name) for name in columns]
        options = pa.ipc.IpcReadOptions(included_fields=chosen)
        opener = pa.ipc.open_file if self.is_file else pa.ipc.open_stream
        return opener(self.opened, options=options)


@contextmanager
def open_ipc(uri: str) -> Iterator[ArrowShard]:
    with open_arrow(uri) as opened:
        check_ipc(opened, uri)
        yield ArrowShard(opened, not uris.is_s3(uri), opened.size())
