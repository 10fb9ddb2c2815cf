"""How a file comes into a local folder whole and on disk, a power cut included; `storage` writes and deletes with it.

A new file has a hidden name and is locked until it has its own. What a killed writer leaves is removed by a later one.
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

ABANDONED = 86400.0  # seconds after which a hidden file that nobody has locked has no writer any more
LOOKED_AT = 100_000  # names of a folder that are looked through for such files
FOLDERS = 1000  # whose looking through a process remembers
HIDDEN = re.compile(r"\..+\.[0-9a-f]{32}", re.DOTALL)
NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EACCES}  # the file system or the folder's permissions do not allow it

_looks: set[tuple[int, str]] = set()  # processes (a fork inherits this) and the folders they have looked through


@contextmanager
def write_atomically(path: Path, fill: Callable[[BinaryIO], Any]) -> Iterator[Path]:
    """What `fill` writes, complete and on disk in a hidden file next to `path`, gone afterwards whatever happens.

    The block gives it its own name; the folder is on disk before the block's caller goes on.
    """
    _make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as file:
            with suppress(OSError):  # a file system without locks: nobody can remove what is left on it either
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
    """Return when the folder's names are on disk. A folder that is gone needs no names; raises OSError."""
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
    """The folder and those above it, each on disk in the one above."""
    missing = []
    for above in (folder, *folder.parents):
        if above.exists():
            break
        missing.append(above)
    folder.mkdir(parents=True, exist_ok=True)
    for new in missing:
        sync_folder(new.parent)


def _remove_leftovers(folder: Path, now: float) -> None:
    """Remove what killed writers left in the folder, once a process. `now` is by the clock that dates its files."""
    look = os.getpid(), str(folder)
    if look in _looks:
        return
    if len(_looks) >= FOLDERS:
        _looks.clear()
    _looks.add(look)
    with suppress(OSError), os.scandir(folder) as listing:  # tidying is no reason for a write to fail
        for item in islice(listing, LOOKED_AT):
            if HIDDEN.fullmatch(item.name) and item.is_file(follow_symlinks=False):
                with suppress(OSError):
                    if now - item.stat().st_mtime > ABANDONED:
                        _remove_unlocked(item.path)


def _remove_unlocked(path: str) -> None:
    """Remove the file unless its writer is alive: then it is locked. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(descriptor)
