"""A local copy of a checkpoint to load: kept on the node by fingerprint, made once, deleted for others when space is
short.

A copy is there whole or not at all. Whoever needs one that is being made waits for it.
"""

import json
import logging
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from blake3 import blake3
from filelock import FileLock, Timeout

from ray_jobs.checkpoints.inspect import list_leftovers, list_loaded, sidecar_files, verify
from ray_jobs.contract.ids import digest
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.inputs.errors import RetryableError
from ray_jobs.runtime.private_cache import cache
from ray_jobs.runtime.waiting import tell_waiting
from ray_jobs.storage import objects

MIN_KEPT = 6  # copies used last, which no other takes the place of: an engine, a judge or CLIP may be about to load one
MIN_FREE_FRACTION = (
    0.1  # of the disk, left free where deleting older copies can: with 5% Ray itself stops spilling there
)
ABANDONED = 86400.0  # seconds after which the folder of an audit or of tables has no maker any more
LOCKS = ".locks"  # and the sums of what was copied
LOCK_SECONDS = 3600.0  # the longest that one copy may take
COPY, UNFINISHED = re.compile(r"[0-9a-f]{16}"), re.compile(r"\.([0-9a-f]{16})\.\w+")
_sound: set[tuple[Path, int]] = set()  # copies that this process has compared
log = logging.getLogger("assay")
OTHERS = re.compile(r"\.(audit-|tables-[0-9a-f]{16}\.)\w+")


def fetch(checkpoint: Checkpoint, folder: Path | None = None, ahead: bool = False) -> Path:
    """A local directory with the checkpoint's files: the directory itself, or this node's copy, kept by fingerprint.

    A directory that holds other weights too is given as a folder of links to the files that are the model. Of an
    adapter it is always a copy, of the base with the adapter merged. A copy is kept in the `folder`, in the node's
    cache unless given. Raises InputError where adapter and base do not match, RetryableError where there is no room for
    a copy, to spare where it is made `ahead` of its need.
    """
    local = objects.local_path(checkpoint.uri)
    if local is not None and not checkpoint.base:
        return _without_leftovers(checkpoint.uri, local)
    target = (folder or cache()) / checkpoint.fingerprint
    try:
        with _lock_copy(target):
            if target.exists() and not _is_sound(target):
                log.warning("%s: the copy of %s is not what was copied; it is made again", target, checkpoint.uri)
                _discard(target)
            if target.exists():
                os.utime(target)  # it was used last
            else:
                _materialise(checkpoint, target, ahead)
    except Timeout:
        raise RetryableError(
            f"checkpoint {checkpoint.uri}: another process has held {target} for {LOCK_SECONDS:.0f} s; look for a "
            "job on this node that hangs, then try again"
        ) from None
    except OSError as error:
        raise RetryableError(f"checkpoint {checkpoint.uri}: cannot copy it to {target}: {error}") from error
    return target


def place_of_weights(checkpoint: Checkpoint, fetched: Path) -> str:
    """Where the headers of the weights are read: in the fetched copy, or where a directory was fetched by links."""
    is_copy = checkpoint.base or objects.is_s3(checkpoint.uri)
    return str(fetched) if is_copy else checkpoint.uri


def _without_leftovers(uri: str, local: Path) -> Path:
    """The directory, or links to the files of the model where the directory holds more than a loader should see.

    vLLM and transformers choose files by rules of their own: vLLM takes every .safetensors file where there is no
    index, and refuses an index whose shards are gone. Given the list as a folder, they have no choice.
    """
    if not (leftovers := list_leftovers(uri)):
        return local
    names = [entry.key for entry in list_loaded(uri)]
    target = cache() / f".linked-{digest(str(local), names)}"
    if not target.exists():
        partial = Path(tempfile.mkdtemp(prefix=".linking-", dir=cache()))
        for name in names:
            (partial / name).symlink_to(local / name)
        try:
            partial.rename(target)
        except OSError:  # another has made the same links meanwhile
            shutil.rmtree(partial, ignore_errors=True)
    log.info("checkpoint %s: loaded without %s", uri, ", ".join(leftovers))
    return target


@contextmanager
def _lock_copy(copy: Path, wait: float | None = None) -> Iterator[None]:
    """Nobody else makes or deletes this copy within it. Raises Timeout when somebody does for longer than `wait`."""
    wait = LOCK_SECONDS if wait is None else wait
    lock = copy.parent / LOCKS / copy.name
    lock.parent.mkdir(parents=True, exist_ok=True)
    file_lock = FileLock(lock)
    notice = tell_waiting(lambda: f"waiting for the process that makes {copy}") if wait else nullcontext()
    with notice:
        file_lock.acquire(timeout=wait)
    try:
        yield
    finally:
        file_lock.release()


def _materialise(checkpoint: Checkpoint, target: Path, ahead: bool) -> None:
    base = fetch(checkpoint.base, target.parent, ahead) if checkpoint.base else None  # before there is room for both
    _remove_unfinished(target)
    _make_room(checkpoint, target.parent, ahead)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        if base:
            _merge(checkpoint, base, partial)
        else:
            with tell_waiting(lambda: f"copying {checkpoint.uri} to this node"):
                _download(checkpoint.uri, partial)
        verify(checkpoint)  # a copy is kept by fingerprint, so it must be what the fingerprint says
        _note_sums(target, partial)
        partial.rename(target)
        _sound.add((target, target.stat().st_ino))
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _note_sums(copy: Path, folder: Path) -> None:
    """Write down what the copy holds, beside it: only a copy whose sums are there is used."""
    sums = copy.parent / LOCKS / f"{copy.name}.sums"
    sums.parent.mkdir(exist_ok=True)
    partial = sums.with_name(f".{sums.name}.{uuid.uuid4().hex}")
    partial.write_text(json.dumps(_sums_of(folder)))
    partial.replace(sums)


def _is_sound(copy: Path) -> bool:
    """Whether the copy is what was copied: read once a process, for a disk may fail and a copy may be changed."""
    key = (copy, copy.stat().st_ino)
    if key not in _sound:
        try:
            noted = json.loads((copy.parent / LOCKS / f"{copy.name}.sums").read_text())
        except (FileNotFoundError, ValueError):
            return False
        if copy.is_symlink() or noted != _sums_of(copy):
            return False
        _sound.add(key)
    return True


def _sums_of(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if not path.is_dir())
    return {
        str(file.relative_to(folder)): "link" if file.is_symlink() else blake3().update_mmap(str(file)).hexdigest()
        for file in files
    }


def _discard(copy: Path) -> None:
    gone = copy.with_name(f".{copy.name}.{uuid.uuid4().hex[:8]}")
    copy.rename(gone)
    if gone.is_symlink():
        gone.unlink()
    shutil.rmtree(gone, ignore_errors=True)


def _remove_unfinished(target: Path) -> None:
    """Remove what makers that were killed have left: of this copy, whose lock is held, and where nobody holds it."""
    for leftover in cache().glob(".*"):
        if match := UNFINISHED.fullmatch(leftover.name):
            copy = leftover.with_name(match[1])
            with suppress(Timeout), nullcontext() if copy == target else _lock_copy(copy, wait=0):
                shutil.rmtree(leftover, ignore_errors=True)
        elif OTHERS.fullmatch(leftover.name) and time.time() - _last_use(leftover) > ABANDONED:
            shutil.rmtree(leftover, ignore_errors=True)


def _make_room(checkpoint: Checkpoint, folder: Path, ahead: bool) -> None:
    """Delete the copies not used for longest while the disk is short. Raises RetryableError when that is not enough."""
    needed = sum(entry.size for entry in list_loaded((checkpoint.base or checkpoint).uri))
    copies = sorted((_last_use(path), path) for path in cache().glob("*") if COPY.fullmatch(path.name))
    for used, copy in copies[:-MIN_KEPT]:
        if _free_fraction(folder, needed) >= MIN_FREE_FRACTION:
            return
        _delete_unused(copy, used)
    if _free_fraction(folder, needed) < (MIN_FREE_FRACTION if ahead else 0):
        free = shutil.disk_usage(folder).free
        raise RetryableError(
            f"checkpoint {checkpoint.uri}: its copy takes {needed / 1e9:.1f} GB and {folder} has room for "
            f"{free / 1e9:.1f}{' and none to spare' if ahead else ''}; free space there or set ASSAY_CACHE to a "
            "directory on a larger disk"
        )


def _free_fraction(folder: Path, needed: int) -> float:
    """The share of the disk that will be free once the needed bytes are there; below zero when they do not fit."""
    disk = shutil.disk_usage(folder)
    return (disk.free - needed) / disk.total


def _last_use(copy: Path) -> float:
    """When it was last used; 0 when another has deleted it."""
    try:
        return copy.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _delete_unused(copy: Path, used: float) -> None:
    """Delete a copy, unless somebody has taken it up since it was last `used`; at one stroke, so that nobody sees a
    part of it."""
    gone = copy.with_name(f".{copy.name}.{uuid.uuid4().hex[:8]}")
    try:
        with _lock_copy(copy, wait=0):
            if used and _last_use(copy) == used:
                copy.rename(gone)
    except Timeout:
        return
    shutil.rmtree(gone, ignore_errors=True)


def _download(uri: str, target: Path) -> None:
    for entry in list_loaded(uri):
        objects.download(f"{uri}/{entry.key}", target / entry.key)


def _merge(checkpoint: Checkpoint, base: Path, target: Path) -> None:
    """Fill the directory with the base's files, the adapter merged, and what the adapter has of its own beside it."""
    from ray_jobs.checkpoints.lora_merge import merge  # and with it torch

    for name, uri in sidecar_files(checkpoint).items():
        (target / name).write_bytes(objects.read(uri))
    downloaded = target / ".adapter"
    downloaded.mkdir()
    local = objects.local_path(checkpoint.uri)
    if local is None:
        _download(checkpoint.uri, downloaded)
    merge(base, local or downloaded, target, f"checkpoint {checkpoint.uri}")
    shutil.rmtree(downloaded)
