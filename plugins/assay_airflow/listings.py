"""List the folders below a folder of checkpoints, each with a digest that changes when a file in it does.

The router's task and the watcher in the triggerer call this. On S3 one listing covers the whole folder, 1,000 keys per
request, for any number of checkpoints. No file is opened.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Iterable
from itertools import groupby, islice
from typing import NamedTuple

from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import object_listing, uris

MAX_FILES = 10_000  # in one checkpoint; the largest models have some hundreds


class Listing(NamedTuple):
    """A folder's digest, which changes when any of its files does. `error` says why there is no digest.

    `age`: seconds since the last change of a file, by the clock of the store. None if that of a file is unknown.
    """

    digest: str
    error: Exception | None = None
    age: float | None = None


def list_checkpoints(uri: str) -> dict[str, Listing]:
    """The listing of each folder below `uri` by its name, step-200 before step-1000, so that baselines go forward.

    Raises InputError or RetryableError if `uri` itself cannot be listed. If one folder cannot be, its listing has an
    error.
    """
    if uris.is_s3(uri):
        entries = (entry for entry in object_listing.iterate_entries(uri) if "/" in entry.key)
        listings = {
            name: _digest_files(((entry.key[len(name) + 1 :], entry.size, entry.version), entry.age) for entry in files)
            for name, files in groupby(entries, key=lambda entry: entry.key.partition("/")[0])
        }
    else:
        names = [name for name in object_listing.list_subfolders(uri) if not name.startswith(".")]
        listings = {name: list_checkpoint(f"{uri}/{name}") for name in names}
    return dict(sorted(listings.items(), key=lambda item: natural_key(item[0])))


def list_checkpoint(uri: str) -> Listing:
    """The listing of the one folder at `uri`."""
    try:
        if uris.is_s3(uri):
            return _digest_files(
                ((entry.key, entry.size, entry.version), entry.age) for entry in object_listing.iterate_entries(uri)
            )
        path = uris.local_path(uri)
        files = islice(object_listing.iterate_entries(uri), MAX_FILES + 1)
        return _digest_files(
            ((entry.key, entry.size, read_file_state(f"{path}/{entry.key}")), entry.age) for entry in files
        )
    except Exception as error:
        return Listing("", error)


def natural_key(name: str) -> tuple[list[tuple[int, str]], str]:
    """A sorting key that compares numbers inside a name as numbers. Two names never have the same key."""
    pieces = re.split("([0-9]+)", name)  # every second one is a number: other digits, like a superscript, are letters
    return [(int(piece), "") if place % 2 else (-1, piece) for place, piece in enumerate(pieces)], name


def read_file_state(path: str) -> str:
    """A text that changes when the file at `path` is written or replaced, even by `cp -p` of a file of equal size."""
    try:
        stat = os.stat(path)
    except OSError:  # a link to nothing, or removed since it was listed
        return ""
    return f"{stat.st_mtime_ns}-{stat.st_ctime_ns}-{stat.st_ino}"


def _digest_files(files: Iterable[tuple[tuple[str, int, str], float | None]]) -> Listing:
    """The listing of files, each with its name, size, version and age.

    Consumes all of `files`, because on S3 the files of the next folder follow in the same iterator.
    """
    sha, count, youngest = hashlib.sha256(), 0, math.inf
    for row, age in files:
        count += 1
        youngest = min(youngest, -math.inf if age is None else age)
        if count <= MAX_FILES:
            sha.update(json.dumps(row).encode())  # ASCII, so that names which are no UTF-8 have a digest as well
    if count > MAX_FILES:
        return Listing("", InputError(f"more than {MAX_FILES} files; move what is not the checkpoint elsewhere"))
    return Listing(sha.hexdigest()[:16], age=youngest if math.isfinite(youngest) else None)
