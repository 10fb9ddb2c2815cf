"""Large files read in parts, through Arrow, for the same URIs and AWS variables that `storage` takes."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.fs as fs

from ray_jobs import storage
from ray_jobs.contract import BadInput, Trouble

BUFFER = 2**16
REFUSED = ("ACCESS_DENIED", "NO_SUCH_BUCKET", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "HTTP status 403")


def arrow_filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system of a URI and the path within it."""
    if not storage.is_s3(uri):
        return fs.LocalFileSystem(), str(storage.local_path(uri))
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return fs.S3FileSystem(endpoint_override=endpoint, region=region), uri.removeprefix("s3://")


def open_arrow(uri: str) -> Any:
    """The file as Arrow's random-access file, mapped into memory where it is local."""
    filesystem, path = arrow_filesystem(uri)
    return filesystem.open_input_file(path) if storage.is_s3(uri) else pa.memory_map(path)


@contextmanager
def opened(uri: str) -> Iterator[io.BufferedReader]:
    """The file as a seekable, buffered Python file; what goes wrong while it is open is explained."""
    with explained(uri, "readable"):
        if not storage.is_s3(uri):
            with open(str(storage.local_path(uri)), "rb") as file:
                yield file
        else:
            with open_arrow(uri) as remote, io.BufferedReader(_Raw(remote), BUFFER) as buffered:
                yield buffered  # type: ignore[misc]


@contextmanager
def explained(uri: str, what: str) -> Iterator[None]:
    """Turn Arrow's errors into one line: Trouble where the object store failed, BadInput where the file is at fault."""
    try:
        yield
    except FileNotFoundError:
        raise BadInput(f"dataset {uri}: no such file; check the URI") from None
    except (BadInput, Trouble, MemoryError):
        raise
    except Exception as error:  # a library may raise anything on hostile bytes
        told = " ".join(str(error).split())
        if storage.is_s3(uri) and "AWS Error" in told and not any(code in told for code in REFUSED):
            raise Trouble(f"dataset {uri}: {told}") from error
        kind = "" if isinstance(error, (OSError, pa.ArrowException)) else f"{type(error).__name__}: "
        raise BadInput(f"dataset {uri}: not {what}: {kind}{told}") from None


class _Raw(io.RawIOBase):
    """What `io.BufferedReader` needs of a file."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self.file.seek(offset, whence))

    def tell(self) -> int:
        return int(self.file.tell())

    def readinto(self, buffer: Any) -> int:
        data = self.file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
