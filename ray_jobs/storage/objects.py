"""Reads and writes whole objects at `s3://bucket/key` or in a local directory.

The control plane and the jobs read and write everything that Assay keeps through this module. Manifests rest on two
guarantees: a write is visible only when it is complete, and `create` writes only where there is no object yet. When a
write to a directory returns, the file and its name are on disk. S3 takes the usual AWS variables, `AWS_ENDPOINT_URL`
among them. A fault that a person must mend (no such bucket, no permission, full disk) is an InputError or a
RetryableError with one line that names the object.
"""

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, BinaryIO

from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.inputs.regular_files import NotRegularError, open_regular
from ray_jobs.storage.error_lines import FULL, MISSING, UNREADABLE, error_code, explain_errors, show_uri
from ray_jobs.storage.local_writes import sync_folder, write_atomically
from ray_jobs.storage.s3_body import check_md5, read_object

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DOWNLOADERS, RANGE = 8, 2**24  # threads per file, bytes per request


@dataclass(frozen=True)
class Entry:
    """One object: its key relative to the listed prefix, its size in bytes, and its version.

    The version is a token that changes when the content changes. `has_sha256`: the store keeps a SHA-256 of the object;
    only `files` sets it.
    """

    key: str
    size: int
    version: str
    has_sha256: bool = False


def read(uri: str, at_most: int | None = None) -> bytes:
    """Returns the object's bytes.

    Raises FileNotFoundError when there is no object, and InputError for a local path that is no regular file. With
    `at_most`, raises InputError for an object of more bytes. The stated size is compared first; an object that states
    less than it holds is refused while it is read.
    """
    with explain_errors(uri, "read"):
        if not is_s3(uri):
            with _open_regular(_path(uri)) as file:
                _refuse_larger(uri, os.fstat(file.fileno()).st_size, at_most)
                data = file.read(-1 if at_most is None else at_most + 1)  # the file may grow, and /proc states no size
                _refuse_larger(uri, len(data), at_most)
                return data
        bucket, key = _bucket_key(uri)
        return read_object(_s3(), bucket, key, at_most=at_most)


def read_range(uri: str, start: int, length: int | None, version: str | None = None) -> bytes:
    """Returns `length` bytes from `start`, or all bytes that follow when `length` is None; fewer at the object's end.

    Raises RetryableError when an object on S3 does not have the given `version`.
    """
    with explain_errors(uri, "read"):
        if not is_s3(uri):
            with _open_regular(_path(uri)) as file:
                file.seek(start)
                return file.read(-1 if length is None else length)
        bucket, key = _bucket_key(uri)
        content = b""

        def get() -> None:
            nonlocal content
            content = read_object(_s3(), bucket, key, start, length, version=version)

        if length != 0:
            _answers(get, {"InvalidRange", "416"})  # S3 refuses a range that begins at the end
        return content


def download(uri: str, path: Path) -> None:
    """Copy an S3 object to a local file, with parallel range requests when the object is large.

    Each range is checked as `read` checks an object. Raises RetryableError when the object is replaced meanwhile, or
    when the bytes do not match its ETag.
    """
    with explain_errors(uri, "read"):
        bucket, key = _bucket_key(uri)
        head = _s3().head_object(Bucket=bucket, Key=key)
        version, size = head["ETag"].strip('"'), head["ContentLength"]
        try:
            with path.open("wb") as file, ThreadPoolExecutor(DOWNLOADERS) as pool:

                def copy(start: int) -> None:
                    data = read_object(_s3(), bucket, key, start, RANGE, version=version)
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
    """Write the object and replace the one that is there: a reader sees the old bytes or the new bytes, never a mix."""
    with explain_errors(uri, "write"):
        if is_s3(uri):
            bucket, key = _bucket_key(uri)
            _s3().put_object(Bucket=bucket, Key=key, Body=data)
        else:
            with write_atomically(_path(uri), lambda file: file.write(data)) as complete:
                complete.replace(_path(uri))


def upload(path: Path, uri: str) -> None:
    """Write a local file as the object, as `write` does, without holding the whole file in memory."""
    with explain_errors(uri, "write"):
        if is_s3(uri):
            bucket, key = _bucket_key(uri)
            with path.open("rb") as source:
                _s3().upload_fileobj(source, bucket, key)
        else:
            with (
                path.open("rb") as source,
                write_atomically(_path(uri), lambda file: shutil.copyfileobj(source, file)) as complete,
            ):
                complete.replace(_path(uri))


def create(uri: str, data: bytes) -> bool:
    """Write the object only where there is none. Returns whether it was written: False if another writer was first."""
    with explain_errors(uri, "write"):
        if is_s3(uri):
            bucket, key = _bucket_key(uri)
            return _put_where_none_is(bucket, key, data)
        with write_atomically(_path(uri), lambda file: file.write(data)) as complete:
            try:
                os.link(complete, _path(uri))  # unlike a rename, a link fails when the name exists
                created = True
            except FileExistsError:
                created = False
        return created


def exists(uri: str) -> bool:
    with explain_errors(uri, "look at"):
        if not is_s3(uri):
            return _path(uri).exists()
        bucket, key = _bucket_key(uri)
        return _answers(lambda: _s3().head_object(Bucket=bucket, Key=key), MISSING)


def delete(uri: str) -> None:
    """Remove one object. An object that is not there is no error."""
    with explain_errors(uri, "delete"):
        if is_s3(uri):
            bucket, key = _bucket_key(uri)
            _s3().delete_object(Bucket=bucket, Key=key)
        else:
            _path(uri).unlink(missing_ok=True)
            sync_folder(_path(uri).parent)


def entries(prefix: str, at_most: int | None = None, follow_folders: bool = True) -> Iterator[Entry]:
    """Yields all objects below a prefix, taken as a folder, sorted by key, without temporary and hidden files.

    Memory holds the names of one directory per level at most, however many objects there are. With `at_most`, raises
    InputError after that many names, folders and hidden files included. Links to files are followed, because the
    snapshots in Hugging Face's cache consist of links. Links to folders below the prefix are followed only with
    `follow_folders`; without it, no link can lead the listing out of the prefix.
    """
    with explain_errors(prefix, "list"):
        count = _Limit(prefix, at_most)
        if is_s3(prefix):
            bucket, key = _bucket_key(prefix)
            folder = f"{key.rstrip('/')}/" if key else ""
            for page in _s3().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=folder):
                for item in page.get("Contents", ()):
                    count.add_name()
                    name = item["Key"][len(folder) :]
                    if name and not name.endswith("/") and not name.startswith(".") and "/." not in name:
                        yield Entry(name, item["Size"], item["ETag"].strip('"'))
        else:
            yield from _walk(str(_path(prefix)), count, follow_folders)


def files(folder: str, at_most: int) -> list[Entry]:
    """Returns the objects directly in a folder, sorted by key, without hidden ones; folders in it are not opened.

    The version of a local file contains its inode and the time of its last change too, because no copy can set these.
    Raises InputError when the folder holds more than `at_most` names, hidden ones and folders counted.
    """
    with explain_errors(folder, "list"):
        listed = list(islice(_shallow_on_s3(folder) if is_s3(folder) else _shallow(_path(folder)), at_most + 1))
    if len(listed) > at_most:
        raise InputError(f"{folder}: more than {at_most} files and folders; name the folder of the model itself")
    return sorted((entry for entry in listed if entry and not entry.key.startswith(".")), key=lambda entry: entry.key)


def sha256(uri: str) -> str | None:
    """Returns the SHA-256 of the object's content, in base64, that S3 has checked and keeps; None if S3 keeps none.

    For an object that was uploaded in parts, S3 keeps a hash of hashes. That hash is no SHA-256 of the content, so the
    answer is None.
    """
    with explain_errors(uri, "look at"):
        bucket, key = _bucket_key(uri)
        checksum = _s3().head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED").get("ChecksumSHA256", "")
        return checksum if checksum and "-" not in checksum else None


def entry(uri: str) -> Entry | None:
    """Returns the object at the URI, with the last part of the URI as its key; None if there is no object."""
    with explain_errors(uri, "look at"):
        name = uri.rsplit("/", 1)[-1]
        if not is_s3(uri):
            path = _path(uri)
            return Entry(name, path.stat().st_size, str(path.stat().st_mtime_ns)) if path.is_file() else None
        bucket, key = _bucket_key(uri)
        matches: list[Entry] = []

        def look() -> None:
            head = _s3().head_object(Bucket=bucket, Key=key)
            matches.append(Entry(name, head["ContentLength"], head["ETag"].strip('"')))

        return matches[0] if key and _answers(look, MISSING) else None


def folders(prefix: str) -> list[str]:
    """Returns the names of the folders directly below a prefix, sorted."""
    with explain_errors(prefix, "list"):
        if not is_s3(prefix):
            root = _path(prefix)
            return sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
        bucket, key = _bucket_key(prefix)
        folder = f"{key.rstrip('/')}/" if key else ""
        pages = _s3().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=folder, Delimiter="/")
        return sorted(
            common["Prefix"][len(folder) :].rstrip("/") for page in pages for common in page.get("CommonPrefixes", ())
        )


def is_s3(uri: str) -> bool:
    """Whether the URI names an object on S3.

    Raises InputError for a scheme other than `s3://` and `file://`, for an S3 URI without a bucket, and for one that
    holds a key.
    """
    scheme, separator, rest = uri.partition("://")
    if separator and scheme not in ("s3", "file"):
        raise InputError(f"{show_uri(uri)}: cannot open {scheme}://; use s3://bucket/key or a local directory")
    if scheme == "s3" and separator and not rest.split("/")[0]:
        raise InputError(f"{show_uri(uri)}: names no bucket; use s3://bucket/key")
    if scheme == "s3" and "@" in rest.split("/")[0]:
        raise InputError(f"{show_uri(uri)}: holds a key; take it out of the URI and set AWS_ACCESS_KEY_ID instead")
    return bool(separator) and scheme == "s3"


def local_path(uri: str) -> Path | None:
    """Returns the path of a local URI, None for S3."""
    return None if is_s3(uri) else _path(uri)


def absolute(uri: str) -> str:
    """Returns an S3 URI without its trailing slash, and a local URI as an absolute path.

    An absolute path means the same in every process.
    """
    return uri.rstrip("/") if is_s3(uri) else str(_path(uri).expanduser().absolute())


def _path(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))


def _bucket_key(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def _put_where_none_is(bucket: str, key: str, data: bytes) -> bool:
    from botocore.exceptions import ClientError

    for wait in (0.1, 0.5, 2.0, None):
        try:
            return _answers(lambda: _s3().put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*"), _TAKEN)
        except ClientError as error:
            if wait is None or error_code(error) not in _BUSY:
                raise
            time.sleep(wait)
    raise AssertionError("unreachable")


_BUSY = {"ConditionalRequestConflict", "409"}  # another write of this key is in flight, and may still fail
_TAKEN = {"PreconditionFailed", "412"}
_kept = SimpleNamespace(client=None, owner=None)
_making = threading.Lock()


def _s3() -> "S3Client":
    """Returns the client of this process. Threads share the client, and a fork creates its own."""
    with _making:
        if _kept.owner != os.getpid():
            import boto3
            from botocore.config import Config

            _kept.client = boto3.session.Session().client(
                "s3",
                config=Config(
                    retries={"mode": "standard", "max_attempts": 5},
                    s3={"addressing_style": _addressing()},
                    connect_timeout=10,
                    read_timeout=60,
                    max_pool_connections=64,
                ),
            )
            _kept.owner = os.getpid()
        client: S3Client = _kept.client
        return client


def _addressing() -> Any:
    """Returns path style for a custom endpoint: most S3 servers other than AWS have no host name per bucket."""
    return "path" if os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT_URL_S3") else "auto"


def _answers(call: Callable[[], Any], no: set[str]) -> bool:
    """Returns True when the S3 call succeeds, False when it fails with one of the codes in `no`."""
    from botocore.exceptions import ClientError

    try:
        call()
    except ClientError as error:
        if error_code(error) in no:
            return False
        raise
    return True


class _Limit:
    """Counts the names of a listing. Raises InputError when there are more than `at_most`."""

    def __init__(self, prefix: str, at_most: int | None) -> None:
        self.prefix, self.at_most, self.names = prefix, at_most, 0

    def add_name(self) -> None:
        self.names += 1
        if self.at_most is not None and self.names > self.at_most:
            raise InputError(
                f"{show_uri(self.prefix)}: holds more than {self.at_most} files, the most that are listed here; "
                "name the folder that is meant, or remove what does not belong there"
            )


def _walk(root: str, count: _Limit, follow_folders: bool) -> Iterator[Entry]:
    """Yields the files below `root`, sorted by key: a directory sorts by its name with a slash at the end.

    Links are followed, except to a directory that the walk is inside. A link that leads nowhere is a file of 0 bytes.
    """
    open_folders = [iter([""])]  # the remaining sorted names of each directory that the walk is inside
    inside: list[tuple[int, int]] = []  # the device and inode of each of these directories
    while open_folders:
        key = next(open_folders[-1], None)
        if key is None:
            open_folders.pop()
            inside[len(open_folders) - 1 :] = []
            continue
        path = f"{root}/{key}"
        try:
            status = os.stat(path)
            if not key or key.endswith("/"):
                if (status.st_dev, status.st_ino) not in inside:
                    open_folders.append(iter([f"{key}{name}" for name in _sorted_names(path, count, follow_folders)]))
                    inside.append((status.st_dev, status.st_ino))
                continue
        except OSError as error:  # removed since it was listed, or a link that leads nowhere
            if not isinstance(error, FileNotFoundError | NotADirectoryError) and error.errno != errno.ELOOP:
                raise
            if os.path.islink(path):
                yield Entry(key, 0, "")
            continue
        yield Entry(key, status.st_size, str(status.st_mtime_ns))


def _sorted_names(folder: str, count: _Limit, follow_folders: bool) -> list[str]:
    """Returns the names in a directory without hidden ones, sorted; a directory's name ends in a slash."""
    names = []
    with os.scandir(folder) as listing:
        for item in listing:
            count.add_name()
            try:
                is_folder = item.is_dir()
            except OSError:  # a loop of links
                is_folder = False
            if not item.name.startswith(".") and (follow_folders or not (is_folder and item.is_symlink())):
                names.append(f"{item.name}/" if is_folder else item.name)
    return sorted(names)


def require_regular(uri: str) -> None:
    """Raises InputError for a local URI that is a device, a pipe, a socket or a directory."""
    with explain_errors(uri, "read"), _open_regular(_path(uri)):
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


def _shallow(folder: Path) -> Iterator[Entry | None]:
    """Yields the files directly in a folder, and None per folder. A link that leads nowhere is a file of 0 bytes."""
    try:
        with os.scandir(folder) as listing:
            for item in listing:
                try:
                    stat = item.stat()
                except FileNotFoundError:
                    yield Entry(item.name, 0, "") if item.is_symlink() else None
                except OSError as error:  # a link to itself
                    if error.errno not in UNREADABLE:  # a mount that fails for a while must not make a file look empty
                        raise
                    yield Entry(item.name, 0, "")
                else:
                    version = f"{stat.st_mtime_ns}-{stat.st_ctime_ns}-{stat.st_ino}"
                    yield None if item.is_dir() else Entry(item.name, stat.st_size, version)
    except FileNotFoundError:  # the folder was never there, or was removed meanwhile
        return
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise InputError(f"cannot list {folder}: {error.strerror}; correct the path") from error
        raise


def _shallow_on_s3(folder: str) -> Iterator[Entry | None]:
    bucket, key = _bucket_key(folder)
    above = f"{key.rstrip('/')}/" if key else ""
    for page in _s3().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=above, Delimiter="/"):
        yield from (None for _ in page.get("CommonPrefixes", ()))
        for item in page.get("Contents", ()):
            if item["Key"] != above:
                has_sha256 = "SHA256" in item.get("ChecksumAlgorithm", ())
                yield Entry(item["Key"][len(above) :], item["Size"], item["ETag"].strip('"'), has_sha256)
