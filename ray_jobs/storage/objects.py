"""Objects at `s3://bucket/key` or in a local directory, read and written whole: all that Assay keeps goes through here.

A write is visible only when complete, and `create` writes only where nothing is: the two guarantees that manifests rest
on. What is written to a directory is on disk, and so is its name, when the call returns. S3 takes the usual AWS
variables, `AWS_ENDPOINT_URL` among them. Errors a person must mend (no such bucket, no permission, full disk) are
InputError or RetryableError with one line that names the object.
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

DOWNLOADERS, RANGE = 8, 2**24  # threads a file, bytes a request


@dataclass(frozen=True)
class Entry:
    """One object: its key relative to the listed prefix, bytes, and a token that changes when its content does.

    `has_sha256`: the store says, in `files`, that it keeps a SHA-256 of the object.
    """

    key: str
    size: int
    version: str
    has_sha256: bool = False


def read(uri: str, at_most: int | None = None) -> bytes:
    """The object's bytes.

    Raises FileNotFoundError where there is none, InputError for what is no regular file and, when `at_most` is given,
    for an object of more bytes: it is refused by its stated size, and while it is read where it states less.
    """
    with explain_errors(uri, "read"):
        if not is_s3(uri):
            with _open_regular(_path(uri)) as file:
                _refuse_larger(uri, os.fstat(file.fileno()).st_size, at_most)
                data = file.read(-1 if at_most is None else at_most + 1)  # it may grow, and /proc states no size
                _refuse_larger(uri, len(data), at_most)
                return data
        bucket, key = _bucket_key(uri)
        return read_object(_s3(), bucket, key, at_most=at_most)


def read_range(uri: str, start: int, length: int | None, version: str | None = None) -> bytes:
    """`length` bytes from `start` (all that follow when None); fewer at the end of the object.

    Raises RetryableError when an object on S3 is not, or no longer, of the `version` that is given.
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
    """Copy an S3 object to a local file, in parallel ranges when it is large, each read as `read` reads.

    Raises RetryableError when it is replaced meanwhile, or when the bytes are not those of its ETag.
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
    """Put the object, replacing what is there: readers see the old bytes or the new, never a part."""
    with explain_errors(uri, "write"):
        if is_s3(uri):
            bucket, key = _bucket_key(uri)
            _s3().put_object(Bucket=bucket, Key=key, Body=data)
        else:
            with write_atomically(_path(uri), lambda file: file.write(data)) as complete:
                complete.replace(_path(uri))


def upload(path: Path, uri: str) -> None:
    """Put a local file as the object, as `write` does but never all of it in memory."""
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
    """Put the object only where there is none: True when these bytes are the ones, False when another was first."""
    with explain_errors(uri, "write"):
        if is_s3(uri):
            bucket, key = _bucket_key(uri)
            return _put_where_none_is(bucket, key, data)
        with write_atomically(_path(uri), lambda file: file.write(data)) as complete:
            try:
                os.link(complete, _path(uri))  # unlike a rename, a link fails where something is
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
    """Remove one object; none being there is fine."""
    with explain_errors(uri, "delete"):
        if is_s3(uri):
            bucket, key = _bucket_key(uri)
            _s3().delete_object(Bucket=bucket, Key=key)
        else:
            _path(uri).unlink(missing_ok=True)
            sync_folder(_path(uri).parent)


def entries(prefix: str, at_most: int | None = None, follow_folders: bool = True) -> Iterator[Entry]:
    """All objects below a prefix (taken as a folder), sorted by key; temporary and hidden files left out.

    Nothing is collected but the names of one directory, however many objects there are. With `at_most`, raises
    InputError after that many names, folders and hidden files among them. Links to files are followed, as the snapshots
    in Hugging Face's cache need it; links to folders below the prefix only with `follow_folders`, so that without it a
    link cannot lead the listing out of the prefix.
    """
    with explain_errors(prefix, "list"):
        count = _Limit(prefix, at_most)
        if is_s3(prefix):
            bucket, key = _bucket_key(prefix)
            folder = f"{key.rstrip('/')}/" if key else ""
            for page in _s3().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=folder):
                for found in page.get("Contents", ()):
                    count.add_name()
                    name = found["Key"][len(folder) :]
                    if name and not name.endswith("/") and not name.startswith(".") and "/." not in name:
                        yield Entry(name, found["Size"], found["ETag"].strip('"'))
        else:
            yield from _walk(str(_path(prefix)), count, follow_folders)


def files(folder: str, at_most: int) -> list[Entry]:
    """The objects directly in a folder, sorted by key, hidden ones left out; folders in it are not opened.

    The version of a local file changes with its inode and the time of its last change too, which no copy can set.
    Raises InputError where there is more than `at_most` in the folder, hidden ones and folders counted.
    """
    with explain_errors(folder, "list"):
        found = list(islice(_shallow_on_s3(folder) if is_s3(folder) else _shallow(_path(folder)), at_most + 1))
    if len(found) > at_most:
        raise InputError(f"{folder}: more than {at_most} files and folders; name the folder of the model itself")
    return sorted((entry for entry in found if entry and not entry.key.startswith(".")), key=lambda entry: entry.key)


def sha256(uri: str) -> str | None:
    """The SHA-256 of the object's content that S3 has checked and keeps, in base64; None where it keeps none.

    Of an object uploaded in parts S3 keeps a hash of hashes, which says nothing of the content by itself.
    """
    with explain_errors(uri, "look at"):
        bucket, key = _bucket_key(uri)
        kept = _s3().head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED").get("ChecksumSHA256", "")
        return kept if kept and "-" not in kept else None


def entry(uri: str) -> Entry | None:
    """The one object at the URI under its own name, None where there is none."""
    with explain_errors(uri, "look at"):
        name = uri.rsplit("/", 1)[-1]
        if not is_s3(uri):
            path = _path(uri)
            return Entry(name, path.stat().st_size, str(path.stat().st_mtime_ns)) if path.is_file() else None
        bucket, key = _bucket_key(uri)
        found: list[Entry] = []

        def look() -> None:
            head = _s3().head_object(Bucket=bucket, Key=key)
            found.append(Entry(name, head["ContentLength"], head["ETag"].strip('"')))

        return found[0] if key and _answers(look, MISSING) else None


def folders(prefix: str) -> list[str]:
    """Names of the folders directly below a prefix, sorted."""
    with explain_errors(prefix, "list"):
        if not is_s3(prefix):
            root = _path(prefix)
            return sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
        bucket, key = _bucket_key(prefix)
        folder = f"{key.rstrip('/')}/" if key else ""
        pages = _s3().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=folder, Delimiter="/")
        return sorted(
            found["Prefix"][len(folder) :].rstrip("/") for page in pages for found in page.get("CommonPrefixes", ())
        )


def is_s3(uri: str) -> bool:
    """Whether the URI is an S3 one. Raises InputError for any scheme but `s3://` and `file://`."""
    scheme, found, rest = uri.partition("://")
    if found and scheme not in ("s3", "file"):
        raise InputError(f"{show_uri(uri)}: cannot open {scheme}://; use s3://bucket/key or a local directory")
    if scheme == "s3" and found and not rest.split("/")[0]:
        raise InputError(f"{show_uri(uri)}: names no bucket; use s3://bucket/key")
    if scheme == "s3" and "@" in rest.split("/")[0]:
        raise InputError(f"{show_uri(uri)}: holds a key; take it out of the URI and set AWS_ACCESS_KEY_ID instead")
    return bool(found) and scheme == "s3"


def local_path(uri: str) -> Path | None:
    """The path of a local URI, None for S3."""
    return None if is_s3(uri) else _path(uri)


def absolute(uri: str) -> str:
    """The URI with no trailing slash; a local one as an absolute path, so that it means the same in every process."""
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


_BUSY = {"ConditionalRequestConflict", "409"}  # another write of this key is under way, and may yet fail
_TAKEN = {"PreconditionFailed", "412"}
_kept = SimpleNamespace(client=None, owner=None)
_making = threading.Lock()


def _s3() -> "S3Client":
    """One client a process: threads share it, though not its making, and a fork makes its own."""
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
    """Path style for a custom endpoint: most S3 servers that are not AWS have no host name a bucket."""
    return "path" if os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT_URL_S3") else "auto"


def _answers(call: Callable[[], Any], no: set[str]) -> bool:
    """False when the S3 call fails with one of the codes that mean no."""
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
    """The files below `root`, in the order of their keys: a directory sorts as its keys do, with the slash.

    Links are followed, but not to a directory that one is in; a link to nothing is a file of no bytes.
    """
    open_folders = [iter([""])]  # for each directory that the walk is in, what is left of its sorted names
    inside: list[tuple[int, int]] = []  # the directories themselves
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
    """The names in a directory but hidden ones, sorted; that of a directory with a slash at its end."""
    names = []
    with os.scandir(folder) as found:
        for item in found:
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
    """The file, opened to read. Raises InputError for what is no regular file."""
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
    """What is directly in a folder, None for each folder; a link to nothing is a file of no bytes."""
    try:
        with os.scandir(folder) as found:
            for one in found:
                try:
                    stat = one.stat()
                except FileNotFoundError:
                    yield Entry(one.name, 0, "") if one.is_symlink() else None
                except OSError as error:  # a link to itself
                    if error.errno not in UNREADABLE:  # a mount that fails for a while makes no file empty
                        raise
                    yield Entry(one.name, 0, "")
                else:
                    version = f"{stat.st_mtime_ns}-{stat.st_ctime_ns}-{stat.st_ino}"
                    yield None if one.is_dir() else Entry(one.name, stat.st_size, version)
    except FileNotFoundError:  # never there, or removed since
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
        for found in page.get("Contents", ()):
            if found["Key"] != above:
                kept = "SHA256" in found.get("ChecksumAlgorithm", ())
                yield Entry(found["Key"][len(above) :], found["Size"], found["ETag"].strip('"'), kept)
