"""Keep local copies of checkpoints on a node, by fingerprint, for engines and CLIP to load.

The jobs and the Ray actors call this module. A copy is made once. It is deleted when other copies need its space. A
copy is complete or does not exist. If a process needs a copy that another process makes, it waits.
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

from ray_jobs.checkpoints.inspect import sidecar_files
from ray_jobs.checkpoints.verification import verify
from ray_jobs.checkpoints.weights import list_leftovers, list_loaded
from ray_jobs.contract.ids import digest
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.inputs.errors import RetryableError
from ray_jobs.runtime.private_cache import ensure_cache_folder
from ray_jobs.runtime.waiting import log_while_waiting
from ray_jobs.storage import objects, uris

# The copies that were used last are never deleted, because an engine, a judge or CLIP may be about to load one.
MIN_KEPT = 6
# The part of the disk that stays free: older copies are deleted, because Ray stops spilling at 5% of free space.
MIN_FREE_FRACTION = 0.1
ABANDONED = 86400.0  # seconds after which nobody still fills the folder of an audit or of tables
LOCKS = ".locks"  # holds the locks and the checksums of the copies
LOCK_SECONDS = 3600.0  # the longest time that making one copy may take
COPY, UNFINISHED = re.compile(r"[0-9a-f]{16}"), re.compile(r"\.([0-9a-f]{16})\.\w+")
_sound: set[tuple[Path, int]] = set()  # copies that this process has compared with their checksums
log = logging.getLogger("assay")
OTHERS = re.compile(r"\.(audit-|tables-[0-9a-f]{16}\.)\w+")


def fetch(checkpoint: Checkpoint, folder: Path | None = None, speculative: bool = False) -> Path:
    """Return a local directory with the checkpoint's files: the checkpoint's own directory, or a copy on this node.

    If a directory also holds other weights, the result is a folder of links to the model's files. For an adapter the
    result is always a copy of the base, with the adapter merged. Copies lie in `folder`, by default the node's cache.

    Raises InputError if adapter and base do not match. Raises RetryableError if the disk has no room for a copy; with
    `speculative`, a copy made before it is needed, MIN_FREE_FRACTION of the disk must stay free too.
    """
    local = uris.local_path(checkpoint.uri)
    if local is not None and not checkpoint.base:
        return _link_without_leftovers(checkpoint.uri, local)
    target = (folder or ensure_cache_folder()) / checkpoint.fingerprint
    try:
        with _lock_copy(target):
            if target.exists() and not _is_sound(target):
                log.warning("%s: the copy of %s is not what was copied; it is made again", target, checkpoint.uri)
                _discard(target)
            if target.exists():
                os.utime(target)  # marks this copy as the last used
            else:
                _materialise(checkpoint, target, speculative)
    except Timeout:
        raise RetryableError(
            f"checkpoint {checkpoint.uri}: another process has held {target} for {LOCK_SECONDS:.0f} s; look for a "
            "job on this node that hangs, then try again"
        ) from None
    except OSError as error:
        raise RetryableError(f"checkpoint {checkpoint.uri}: cannot copy it to {target}: {error}") from error
    return target


def find_weights_folder(checkpoint: Checkpoint, copy: Path) -> str:
    """Return the place to read the weights' headers from: the fetched copy, or else the checkpoint's own directory."""
    is_copy = checkpoint.base or uris.is_s3(checkpoint.uri)
    return str(copy) if is_copy else checkpoint.uri


def _link_without_leftovers(uri: str, local: Path) -> Path:
    """Return the directory, or a folder of links to the model's files if the directory holds leftover weights.

    vLLM and transformers choose files by their own rules. vLLM loads every .safetensors file if there is no index, and
    refuses an index whose shards are gone. A folder with the right files only leaves them no choice.
    """
    if not (leftovers := list_leftovers(uri)):
        return local
    names = [entry.key for entry in list_loaded(uri)]
    target = ensure_cache_folder() / f".linked-{digest(str(local), names)}"
    if not target.exists():
        partial = Path(tempfile.mkdtemp(prefix=".linking-", dir=ensure_cache_folder()))
        for name in names:
            (partial / name).symlink_to(local / name)
        try:
            partial.rename(target)
        except OSError:  # another process has made the same links meanwhile
            shutil.rmtree(partial, ignore_errors=True)
    log.info("checkpoint %s: loaded without %s", uri, ", ".join(leftovers))
    return target


@contextmanager
def _lock_copy(copy: Path, wait: float | None = None) -> Iterator[None]:
    """Hold the lock of a copy, so that no other process makes or deletes the copy. `wait` is in seconds.

    Raises Timeout if another process holds the lock for longer.
    """
    wait = LOCK_SECONDS if wait is None else wait
    lock = copy.parent / LOCKS / copy.name
    lock.parent.mkdir(parents=True, exist_ok=True)
    file_lock = FileLock(lock)
    notice = log_while_waiting(lambda: f"waiting for the process that makes {copy}") if wait else nullcontext()
    with notice:
        file_lock.acquire(timeout=wait)
    try:
        yield
    finally:
        file_lock.release()


def _materialise(checkpoint: Checkpoint, target: Path, speculative: bool) -> None:
    base = (
        fetch(checkpoint.base, target.parent, speculative) if checkpoint.base else None
    )  # before making room for the merge
    _remove_unfinished(target)
    _make_room(checkpoint, target.parent, speculative)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        if base:
            _merge(checkpoint, base, partial)
        else:
            with log_while_waiting(lambda: f"copying {checkpoint.uri} to this node"):
                _download(checkpoint.uri, partial)
        verify(checkpoint)  # later jobs trust the fingerprint in the copy's name
        _note_sums(target, partial)
        partial.rename(target)
        _sound.add((target, target.stat().st_ino))
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _note_sums(copy: Path, folder: Path) -> None:
    """Write the checksums of the copy's files. A copy without its checksums is not used."""
    sums = copy.parent / LOCKS / f"{copy.name}.sums"
    sums.parent.mkdir(exist_ok=True)
    partial = sums.with_name(f".{sums.name}.{uuid.uuid4().hex}")
    partial.write_text(json.dumps(_compute_sums(folder)))
    partial.replace(sums)


def _is_sound(copy: Path) -> bool:
    """True if the copy matches its checksums. Each process reads a copy once: disks fail, and copies get changed."""
    key = (copy, copy.stat().st_ino)
    if key not in _sound:
        try:
            sums = json.loads((copy.parent / LOCKS / f"{copy.name}.sums").read_text())
        except (FileNotFoundError, ValueError):
            return False
        if copy.is_symlink() or sums != _compute_sums(copy):
            return False
        _sound.add(key)
    return True


def _compute_sums(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if not path.is_dir())
    return {
        str(file.relative_to(folder)): "link" if file.is_symlink() else blake3().update_mmap(str(file)).hexdigest()
        for file in files
    }


def _discard(copy: Path) -> None:
    doomed = copy.with_name(f".{copy.name}.{uuid.uuid4().hex[:8]}")
    copy.rename(doomed)
    if doomed.is_symlink():
        doomed.unlink()
    shutil.rmtree(doomed, ignore_errors=True)


def _remove_unfinished(target: Path) -> None:
    """Remove the folders of processes that were killed while they made a copy.

    The caller holds the lock of `target`. A folder of another copy is removed if no process holds that copy's lock.
    Folders of audits and of tables are removed once they are ABANDONED seconds old.
    """
    for leftover in ensure_cache_folder().glob(".*"):
        if match := UNFINISHED.fullmatch(leftover.name):
            copy = leftover.with_name(match[1])
            with suppress(Timeout), nullcontext() if copy == target else _lock_copy(copy, wait=0):
                shutil.rmtree(leftover, ignore_errors=True)
        elif OTHERS.fullmatch(leftover.name) and time.time() - _read_last_use(leftover) > ABANDONED:
            shutil.rmtree(leftover, ignore_errors=True)


def _make_room(checkpoint: Checkpoint, folder: Path, speculative: bool) -> None:
    """Delete the least recently used copies while the disk is short. Raises RetryableError if that is not enough."""
    needed_bytes = sum(entry.size for entry in list_loaded((checkpoint.base or checkpoint).uri))
    copies = sorted(
        (_read_last_use(path), path) for path in ensure_cache_folder().glob("*") if COPY.fullmatch(path.name)
    )
    for last_use, copy in copies[:-MIN_KEPT]:
        if _free_fraction(folder, needed_bytes) >= MIN_FREE_FRACTION:
            return
        _delete_unused(copy, last_use)
    if _free_fraction(folder, needed_bytes) < (MIN_FREE_FRACTION if speculative else 0):
        free_bytes = shutil.disk_usage(folder).free
        raise RetryableError(
            f"checkpoint {checkpoint.uri}: its copy takes {needed_bytes / 1e9:.1f} GB and {folder} has room for "
            f"{free_bytes / 1e9:.1f}{' and none to spare' if speculative else ''}; free space there or set "
            "ASSAY_CACHE to a directory on a larger disk"
        )


def _free_fraction(folder: Path, needed_bytes: int) -> float:
    """Return the fraction of the disk that stays free after writing `needed_bytes`; negative if they do not fit."""
    disk = shutil.disk_usage(folder)
    return (disk.free - needed_bytes) / disk.total


def _read_last_use(copy: Path) -> float:
    """Return the time of the last use, in seconds since the epoch, or 0 if another process has deleted the copy."""
    try:
        return copy.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _delete_unused(copy: Path, last_use: float) -> None:
    """Delete a copy, unless a process has used it after the time `last_use`.

    A rename takes the copy away at once, so that no process sees a part of a copy.
    """
    doomed = copy.with_name(f".{copy.name}.{uuid.uuid4().hex[:8]}")
    try:
        with _lock_copy(copy, wait=0):
            if last_use and _read_last_use(copy) == last_use:
                copy.rename(doomed)
    except Timeout:
        return
    shutil.rmtree(doomed, ignore_errors=True)


def _download(uri: str, target: Path) -> None:
    for entry in list_loaded(uri):
        objects.download(f"{uri}/{entry.key}", target / entry.key)


def _merge(checkpoint: Checkpoint, base: Path, target: Path) -> None:
    """Fill `target` with the merged weights, and with the files beside them: the adapter's own before the base's."""
    from ray_jobs.checkpoints.lora_merge import merge  # this imports torch

    for name, uri in sidecar_files(checkpoint).items():
        (target / name).write_bytes(objects.read(uri))
    downloaded = target / ".adapter"
    downloaded.mkdir()
    local = uris.local_path(checkpoint.uri)
    if local is None:
        _download(checkpoint.uri, downloaded)
    merge(base, local or downloaded, target, f"checkpoint {checkpoint.uri}")
    shutil.rmtree(downloaded)
