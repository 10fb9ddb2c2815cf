"""Writes a file into a local folder so that it is complete and on disk, even after a power cut.

`storage.objects` calls this module, in every process. A new file has a hidden name and a lock until it gets
its own name. A later writer removes the hidden files of killed writers.
"""

import errno
import fcntl
import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

ABANDONED = 86400.0  # seconds after which an unlocked hidden file counts as left by a killed writer
LOOKED_AT = 100_000  # names per folder that a process searches for such files
FOLDERS = 1000  # searched folders that a process remembers
HIDDEN = re.compile(r"\..+\.[0-9a-f]{32}", re.DOTALL)
NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EACCES}  # the file system or the folder's permissions do not allow it

_looks: set[tuple[int, str]] = set()  # processes (a fork inherits this set) and the folders that they have searched


@contextmanager
def write_atomically(path: Path, fill: Callable[[BinaryIO], Any]) -> Iterator[Path]:
    """Yields a hidden file next to `path` that holds all that `fill` writes, on disk. Removes it at the end, always.

    The block gives the file its own name. The folder is on disk when the context ends.
    """
    _make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as file:
            with suppress(OSError):  # a file system without locks: no later writer removes a leftover there
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove_leftovers(path.parent, os.fstat(file.fileno()).st_mtime)
            fill(file)
            file.flush()
            os.fsync(file.fileno())
            yield temporary
            sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Return when the folder's names are on disk. A folder that is gone is no error. Raises OSError."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise


def _make_folder(folder: Path) -> None:
    """Create the folder and those above it, each on disk in the folder above."""
    missing = []
    for above in (folder, *folder.parents):
        if above.exists():
            break
        missing.append(above)
    folder.mkdir(parents=True, exist_ok=True)
    for new in missing:
        sync_folder(new.parent)


def _remove_leftovers(folder: Path, now: float) -> None:
    """Remove the files of killed writers in the folder, once per process. `now` is by the file system's clock."""
    look = os.getpid(), str(folder)
    if look in _looks:
        return
    if len(_looks) >= FOLDERS:
        _looks.clear()
    _looks.add(look)
    with suppress(OSError), os.scandir(folder) as listing:  # a failed cleanup must not fail the write
        for item in islice(listing, LOOKED_AT):
            if HIDDEN.fullmatch(item.name) and item.is_file(follow_symlinks=False):
                with suppress(OSError):
                    if now - item.stat().st_mtime > ABANDONED:
                        _remove_unlocked(item.path)


def _remove_unlocked(path: str) -> None:
    """Remove the file. Raises OSError if it is locked, because its writer is then alive."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(descriptor)
