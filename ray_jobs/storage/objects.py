"""Reads and writes whole objects at `s3://bucket/key` or in a local directory.

The control plane and the jobs read and write everything that Assay keeps through this module. Manifests rest on two
guarantees: a write is visible only when it is complete, and `create` writes only where there is no object yet. When a
write to a directory returns, the file and its name are on disk. A fault that a person must mend (no such bucket, no
permission, full disk) is an InputError or a RetryableError with one line that names the object. `object_listing` lists
objects, and `uris` reads their URIs.
"""

import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.inputs.regular_files import NotRegularError, open_regular
from ray_jobs.storage import uris
from ray_jobs.storage.error_lines import FULL, MISSING, error_code, explain_errors, show_uri
from ray_jobs.storage.local_writes import sync_folder, write_atomically
from ray_jobs.storage.s3_body import check_md5, read_object
from ray_jobs.storage.s3_client import get_client, succeeds

DOWNLOADERS, RANGE = 8, 2**24  # threads per file, bytes per request


def read(uri: str, at_most: int | None = None) -> bytes:
    """Returns the object's bytes.

    Raises FileNotFoundError when there is no object, and InputError for a local path that is no regular file. With
    `at_most`, raises InputError for an object of more bytes. The stated size is compared first; an object that states
    less than it holds is refused while it is read.
    """
    with explain_errors(uri, "read"):
        if not uris.is_s3(uri):
            with _open_regular(uris.path_of(uri)) as file:
                _refuse_larger(uri, os.fstat(file.fileno()).st_size, at_most)
                data = file.read(-1 if at_most is None else at_most + 1)  # the file may grow, and /proc states no size
                _refuse_larger(uri, len(data), at_most)
                return data
        bucket, key = uris.split_s3(uri)
        return read_object(get_client(), bucket, key, at_most=at_most)


def read_range(uri: str, start: int, length: int | None, version: str | None = None) -> bytes:
    """Returns `length` bytes from `start`, or all bytes that follow when `length` is None; fewer at the object's end.

    Raises RetryableError when an object on S3 does not have the given `version`.
    """
    with explain_errors(uri, "read"):
        if not uris.is_s3(uri):
            with _open_regular(uris.path_of(uri)) as file:
                file.seek(start)
                return file.read(-1 if length is None else length)
        bucket, key = uris.split_s3(uri)
        content = b""

        def get() -> None:
            nonlocal content
            content = read_object(get_client(), bucket, key, start, length, version=version)

        if length != 0:
            succeeds(get, {"InvalidRange", "416"})  # S3 refuses a range that begins at the end
        return content


def download(uri: str, path: Path) -> None:
    """Copy an S3 object to a local file, with parallel range requests when the object is large.

    Each range is checked as `read` checks an object. Raises RetryableError when the object is replaced meanwhile, or
    when the bytes do not match its ETag.
    """
    with explain_errors(uri, "read"):
        bucket, key = uris.split_s3(uri)
        head = get_client().head_object(Bucket=bucket, Key=key)
        version, size = head["ETag"].strip('"'), head["ContentLength"]
        try:
            with path.open("wb") as file, ThreadPoolExecutor(DOWNLOADERS) as pool:

                def copy(start: int) -> None:
                    data = read_object(get_client(), bucket, key, start, RANGE, version=version)
                    if len(data) != min(RANGE, size - start):
                        raise RetryableError(f"{show_uri(uri)}: it was replaced while it was read; try again")
                    os.pwrite(file.fileno(), data, start)

                for copied in [pool.submit(copy, start) for start in range(0, size, RANGE)]:
                    copied.result()
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise RetryableError(f"cannot copy {uri} to {path.parent}: the disk is full; free space there") from error
        check_md5(path, head, show_uri(uri))


def write(uri: str, data: bytes) -> None:
    """Write the object, also over an older object. A reader sees the old bytes or the new bytes, never a mix."""
    with explain_errors(uri, "write"):
        if uris.is_s3(uri):
            bucket, key = uris.split_s3(uri)
            get_client().put_object(Bucket=bucket, Key=key, Body=data)
        else:
            with write_atomically(uris.path_of(uri), lambda file: file.write(data)) as complete:
                complete.replace(uris.path_of(uri))


def upload(path: Path, uri: str) -> None:
    """Write a local file as the object, as `write` does, without holding the whole file in memory."""
    with explain_errors(uri, "write"):
        if uris.is_s3(uri):
            bucket, key = uris.split_s3(uri)
            with path.open("rb") as source:
                get_client().upload_fileobj(source, bucket, key)
        else:
            with (
                path.open("rb") as source,
                write_atomically(uris.path_of(uri), lambda file: shutil.copyfileobj(source, file)) as complete,
            ):
                complete.replace(uris.path_of(uri))


def create(uri: str, data: bytes) -> bool:
    """Write the object only where there is none. Returns whether it was written: False if another writer was first."""
    with explain_errors(uri, "write"):
        if uris.is_s3(uri):
            bucket, key = uris.split_s3(uri)
            return _put_if_absent(bucket, key, data)
        with write_atomically(uris.path_of(uri), lambda file: file.write(data)) as complete:
            try:
                os.link(complete, uris.path_of(uri))  # unlike a rename, a link fails when the name exists
                created = True
            except FileExistsError:
                created = False
        return created


def exists(uri: str) -> bool:
    """Whether there is an object, or a local file or directory, at the URI."""
    with explain_errors(uri, "look at"):
        if not uris.is_s3(uri):
            return uris.path_of(uri).exists()
        bucket, key = uris.split_s3(uri)
        return succeeds(lambda: get_client().head_object(Bucket=bucket, Key=key), MISSING)


def delete(uri: str) -> None:
    """Remove one object. An object that is not there is no error."""
    with explain_errors(uri, "delete"):
        if uris.is_s3(uri):
            bucket, key = uris.split_s3(uri)
            get_client().delete_object(Bucket=bucket, Key=key)
        else:
            uris.path_of(uri).unlink(missing_ok=True)
            sync_folder(uris.path_of(uri).parent)


def _put_if_absent(bucket: str, key: str, data: bytes) -> bool:
    from botocore.exceptions import ClientError

    for wait in (0.1, 0.5, 2.0, None):
        try:
            return succeeds(lambda: get_client().put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*"), _TAKEN)
        except ClientError as error:
            if wait is None or error_code(error) not in _BUSY:
                raise
            time.sleep(wait)
    raise AssertionError("unreachable")


_BUSY = {"ConditionalRequestConflict", "409"}  # another write of this key is in flight, and may still fail
_TAKEN = {"PreconditionFailed", "412"}


def require_regular(uri: str) -> None:
    """Raises InputError for a local URI that is a device, a pipe, a socket or a directory."""
    with explain_errors(uri, "read"), _open_regular(uris.path_of(uri)):
        pass


@contextmanager
def _open_regular(path: Path) -> Iterator[BinaryIO]:
    """Yields the file, open for reading. Raises InputError for a path that is no regular file."""
    try:
        file = open_regular(path)
    except NotRegularError:
        raise InputError(
            f"cannot read {show_uri(str(path))}: not a regular file; replace it by one or correct the path"
        ) from None
    with file:
        yield file


def _refuse_larger(uri: str, size: int, at_most: int | None) -> None:
    if at_most is not None and size > at_most:
        raise InputError(
            f"{show_uri(uri)}: is {size} bytes, more than the {at_most} that are read here; check that it is the "
            "file that is meant, and make it smaller"
        )
