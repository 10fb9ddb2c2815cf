"""Lists objects below `s3://bucket/prefix` or a local directory, and describes a single object without reading it.

The control plane and the jobs list everything that Assay keeps or reads through this module. Listings are lazy or have
a limit, so that a folder of any size fits into memory. Faults become an InputError or a RetryableError, as in
`objects`.
"""

import errno
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from itertools import islice
from pathlib import Path
from typing import Any

from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import uris
from ray_jobs.storage.error_lines import MISSING, UNREADABLE, explain_errors, show_uri
from ray_jobs.storage.s3_client import get_client, succeeds


@dataclass(frozen=True)
class Entry:
    """One object: its key relative to the listed prefix, its size in bytes, and its version.

    The version is a token that changes when the content changes. `has_sha256`: the store keeps a SHA-256 of the object;
    only `list_folder` sets it. `age`: seconds since the last change, negative if its time is in the future, None if
    unknown; only `iterate_entries` sets it.
    """

    key: str
    size: int
    version: str
    has_sha256: bool = False
    age: float | None = field(default=None, compare=False)  # each listing measures another age of the same object


def iterate_entries(prefix: str, at_most: int | None = None, follow_folders: bool = True) -> Iterator[Entry]:
    """Yields all objects below a prefix, taken as a folder, sorted by key, without temporary and hidden files.

    Memory holds the names of one directory per level at most, however many objects there are. With `at_most`, raises
    InputError after that many names, folders and hidden files included. Links to files are followed, because the
    snapshots in Hugging Face's cache consist of links. Links to folders below the prefix are followed only with
    `follow_folders`; without it, no link can lead the listing out of the prefix.
    """
    with explain_errors(prefix, "list"):
        count = _NameLimit(prefix, at_most)
        if uris.is_s3(prefix):
            bucket, key = uris.split_s3(prefix)
            folder = f"{key.rstrip('/')}/" if key else ""
            for page in get_client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=folder):
                now = _read_store_time(page)
                for item in page.get("Contents", ()):
                    count.add_name()
                    name = item["Key"][len(folder) :]
                    if name and not name.endswith("/") and not name.startswith(".") and "/." not in name:
                        age = now - item["LastModified"].timestamp() if now is not None else None
                        yield Entry(name, item["Size"], item["ETag"].strip('"'), age=age)
        else:
            yield from _walk_folders(str(uris.path_of(prefix)), count, follow_folders)


def list_folder(folder: str, at_most: int) -> list[Entry]:
    """Returns the objects directly in a folder, sorted by key, without hidden ones; folders in it are not opened.

    The version of a local file contains its inode and the time of its last change too, because no copy can set these.
    Raises InputError when the folder holds more than `at_most` names, hidden ones and folders counted.
    """
    with explain_errors(folder, "list"):
        listed = list(
            islice(
                _iterate_s3_folder(folder) if uris.is_s3(folder) else _iterate_local_folder(uris.path_of(folder)),
                at_most + 1,
            )
        )
    if len(listed) > at_most:
        raise InputError(f"{folder}: more than {at_most} files and folders; name the folder of the model itself")
    return sorted((entry for entry in listed if entry and not entry.key.startswith(".")), key=lambda entry: entry.key)


def list_subfolders(prefix: str) -> list[str]:
    """Returns the names of the folders directly below a prefix, sorted."""
    with explain_errors(prefix, "list"):
        if not uris.is_s3(prefix):
            root = uris.path_of(prefix)
            return sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
        bucket, key = uris.split_s3(prefix)
        folder = f"{key.rstrip('/')}/" if key else ""
        pages = get_client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=folder, Delimiter="/")
        return sorted(
            common["Prefix"][len(folder) :].rstrip("/") for page in pages for common in page.get("CommonPrefixes", ())
        )


def find_entry(uri: str) -> Entry | None:
    """Returns the object at the URI, with the last part of the URI as its key; None if there is no object."""
    with explain_errors(uri, "look at"):
        name = uri.rsplit("/", 1)[-1]
        if not uris.is_s3(uri):
            path = uris.path_of(uri)
            return Entry(name, path.stat().st_size, str(path.stat().st_mtime_ns)) if path.is_file() else None
        bucket, key = uris.split_s3(uri)
        matches: list[Entry] = []

        def look() -> None:
            head = get_client().head_object(Bucket=bucket, Key=key)
            matches.append(Entry(name, head["ContentLength"], head["ETag"].strip('"')))

        return matches[0] if key and succeeds(look, MISSING) else None


def read_sha256(uri: str) -> str | None:
    """Returns the SHA-256 of the object's content, in base64, that S3 has checked and keeps; None if S3 keeps none.

    For an object that was uploaded in parts, S3 keeps a hash of hashes. That hash is no SHA-256 of the content, so the
    answer is None.
    """
    with explain_errors(uri, "look at"):
        bucket, key = uris.split_s3(uri)
        checksum = get_client().head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED").get("ChecksumSHA256", "")
        return checksum if checksum and "-" not in checksum else None


def _read_store_time(page: Mapping[str, Any]) -> float | None:
    """Returns the store's own time of a listing, in epoch seconds, so that a skewed clock here does not matter.

    None if the store sent no readable date.
    """
    try:
        return parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp()
    except (KeyError, ValueError):
        return None


class _NameLimit:
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


def _walk_folders(root: str, count: _NameLimit, follow_folders: bool) -> Iterator[Entry]:
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
                    open_folders.append(iter([f"{key}{name}" for name in _list_names(path, count, follow_folders)]))
                    inside.append((status.st_dev, status.st_ino))
                continue
        except OSError as error:  # removed since it was listed, or a link that leads nowhere
            if not isinstance(error, FileNotFoundError | NotADirectoryError) and error.errno != errno.ELOOP:
                raise
            if os.path.islink(path):
                yield Entry(key, 0, "")
            continue
        # A copy can set the modification time (`cp -p`, `rsync -t`), but not the time of the last change.
        age = time.time() - max(status.st_mtime, status.st_ctime)
        yield Entry(key, status.st_size, str(status.st_mtime_ns), age=age)


def _list_names(folder: str, count: _NameLimit, follow_folders: bool) -> list[str]:
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


def _iterate_local_folder(folder: Path) -> Iterator[Entry | None]:
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


def _iterate_s3_folder(folder: str) -> Iterator[Entry | None]:
    bucket, key = uris.split_s3(folder)
    folder_key = f"{key.rstrip('/')}/" if key else ""
    for page in get_client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=folder_key, Delimiter="/"):
        yield from (None for _ in page.get("CommonPrefixes", ()))
        for item in page.get("Contents", ()):
            if item["Key"] != folder_key:
                has_sha256 = "SHA256" in item.get("ChecksumAlgorithm", ())
                yield Entry(item["Key"][len(folder_key) :], item["Size"], item["ETag"].strip('"'), has_sha256)
