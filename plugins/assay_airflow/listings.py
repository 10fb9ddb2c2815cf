"""What lies below a folder of checkpoints, and whether a checkpoint has changed since it was looked at.

One listing of the whole folder, 1,000 keys a request on S3, whatever the number of checkpoints. Nothing is opened. The
router's task and the watcher in the triggerer call this.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable
from itertools import groupby, islice
from typing import NamedTuple

from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import objects

MOST_FILES = 10_000  # in one checkpoint; the largest models have some hundreds


class Listing(NamedTuple):
    """A folder's digest, which changes when any of its files does; `error` says why there is none."""

    digest: str
    error: Exception | None = None


def list_checkpoints(uri: str) -> dict[str, Listing]:
    """The listing of each folder below `uri` by its name, step-200 before step-1000, so that baselines go forward.

    Raises InputError or RetryableError where `uri` itself cannot be listed; a folder that cannot be has an error of its
    own.
    """
    if objects.is_s3(uri):
        entries = (entry for entry in objects.entries(uri) if "/" in entry.key)
        listings = {
            name: _digest((entry.key[len(name) + 1 :], entry.size, entry.version) for entry in files)
            for name, files in groupby(entries, key=lambda entry: entry.key.partition("/")[0])
        }
    else:
        names = [name for name in objects.folders(uri) if not name.startswith(".")]
        listings = {name: list_checkpoint(f"{uri}/{name}") for name in names}
    return dict(sorted(listings.items(), key=lambda item: natural_key(item[0])))


def list_checkpoint(uri: str) -> Listing:
    """The listing of the one folder at `uri`."""
    try:
        if objects.is_s3(uri):
            return _digest(iter(objects.entries(uri)))
        path = objects.local_path(uri)
        files = islice(objects.entries(uri), MOST_FILES + 1)
        return _digest((entry.key, entry.size, local_state(f"{path}/{entry.key}")) for entry in files)
    except Exception as error:
        return Listing("", error)


def natural_key(name: str) -> tuple[list[tuple[int, str]], str]:
    """A sorting key by which numbers inside a name count as numbers; two names have different keys."""
    pieces = re.split("([0-9]+)", name)  # every second one is a number: other digits, like a superscript, are letters
    return [(int(piece), "") if place % 2 else (-1, piece) for place, piece in enumerate(pieces)], name


def local_state(path: str) -> str:
    """Changes when the file at `path` is written or replaced, even by one of the same size and times (`cp -p`)."""
    try:
        stat = os.stat(path)
    except OSError:  # a link to nothing, or removed since it was listed
        return ""
    return f"{stat.st_mtime_ns}-{stat.st_ctime_ns}-{stat.st_ino}"


def _digest(files: Iterable[tuple[str, int, str] | objects.Entry]) -> Listing:
    """Reads all of `files`, because on S3 those of the next folder come behind them."""
    sha, count = hashlib.sha256(), 0
    for file in files:
        count += 1
        if count <= MOST_FILES:
            row = (file.key, file.size, file.version) if isinstance(file, objects.Entry) else file
            sha.update(json.dumps(row).encode())  # ASCII, so that names which are no UTF-8 have a digest as well
    if count > MOST_FILES:
        return Listing("", InputError(f"more than {MOST_FILES} files; move what is not the checkpoint elsewhere"))
    return Listing(sha.hexdigest()[:16])
