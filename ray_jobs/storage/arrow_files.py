"""Opens large files for Arrow, which reads ranges of them, at the URIs and with the AWS variables of `storage.objects`.

The sources, the golden set and `storage.parts` call it in the jobs. An object on S3 is read in one version, or the
read fails.
"""

import errno
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ray_jobs.inputs import lfs_pointers
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.storage import object_listing, objects, uris
from ray_jobs.storage.arrow_guard import check_own
from ray_jobs.storage.error_lines import explain_errors

BUFFER = 2**16
TAIL = 2**16  # bytes at the end of an object on S3


def open_arrow(uri: str) -> Any:
    """Returns the file as Arrow's random-access file; a local file is mapped into memory.

    Raises FileNotFoundError, and InputError or RetryableError as `storage.objects` does. `storage.objects` reads all
    bytes from S3, because Arrow's own S3 client has other time limits and does not know AWS_CA_BUNDLE.
    """
    if uris.is_s3(uri):
        stored = StoredFile(uri)
        if stored.size < lfs_pointers.MAX_BYTES:  # a larger file is no pointer, so the request is saved
            _refuse_pointer(uri, objects.read(uri, at_most=lfs_pointers.MAX_BYTES))
        return pa.PythonFile(stored, mode="r")
    with explain_errors(uri, "read"):
        objects.require_regular(uri)
        file = pa.memory_map(str(uris.local_path(uri)))
        _refuse_pointer(uri, file.read(len(lfs_pointers.PREFIX)))
        file.seek(0)
        return file


@contextmanager
def open_parquet(uri: str) -> Iterator[pq.ParquetFile]:
    """Yields a Parquet file that Assay wrote, before any row is read. Raises as `open_arrow` and `check_own` do."""
    with open_arrow(uri) as file:
        check_own(file, uri)
        yield pq.ParquetFile(file)


@contextmanager
def open_stored(uri: str) -> Iterator[io.BufferedReader]:
    """Yields the file as a seekable, buffered Python file. An error while it is open is raised as one line."""
    with explain_arrow_errors(uri, "readable"):
        if not uris.is_s3(uri):
            objects.require_regular(uri)
            with open(str(uris.local_path(uri)), "rb") as file:
                _refuse_pointer(uri, file.peek(len(lfs_pointers.PREFIX)))
                yield file
        else:
            with StoredFile(uri) as remote, io.BufferedReader(remote, BUFFER) as buffered:
                _refuse_pointer(uri, buffered.peek(len(lfs_pointers.PREFIX)))
                yield buffered  # type: ignore[misc]


def _refuse_pointer(uri: str, head: bytes) -> None:
    if lfs_pointers.is_pointer(head):
        raise InputError(f"dataset {uri}: {lfs_pointers.REMEDY}")


@contextmanager
def explain_arrow_errors(uri: str, what: str) -> Iterator[None]:
    """Raise every error of the block as one line: as an InputError if the file is at fault.

    InputError, RetryableError and MemoryError pass as they are.
    """
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"dataset {uri}: no such file; check the URI") from None
    except (InputError, RetryableError, MemoryError):
        raise
    except Exception as error:  # a library may raise anything on hostile bytes
        message = " ".join(str(error).split())
        kind = "" if isinstance(error, (OSError, pa.ArrowException)) else f"{type(error).__name__}: "
        raise InputError(f"dataset {uri}: not {what}: {kind}{message}") from None


class StoredFile(io.RawIOBase):
    """An object on S3 as a random-access file. Each read is one request, and all reads are of the same version.

    The last TAIL bytes are one request together, because Arrow reads a footer in several steps.
    """

    def __init__(self, uri: str) -> None:
        self.uri, self.position = uri, 0
        self.tail: bytes | None = None
        entry = object_listing.find_entry(uri)
        if entry is None:
            raise FileNotFoundError(errno.ENOENT, "no such object", uri)
        self.size, self.version = entry.size, entry.version

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.size}[whence]
        self.position = max(0, start + offset)
        return self.position

    def tell(self) -> int:
        return self.position

    def read(self, size: int | None = -1) -> bytes:
        remaining = max(0, self.size - self.position)
        wanted = remaining if size is None or size < 0 else min(size, remaining)
        data = self._read_range(self.position, wanted) if wanted else b""
        self.position += len(data)
        return data

    def _read_range(self, start: int, length: int) -> bytes:
        tail_start = max(0, self.size - TAIL)
        if start < tail_start:
            return objects.read_range(self.uri, start, length, self.version)
        if self.tail is None:
            self.tail = objects.read_range(self.uri, tail_start, self.size - tail_start, self.version)
        return self.tail[start - tail_start : start - tail_start + length]

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
