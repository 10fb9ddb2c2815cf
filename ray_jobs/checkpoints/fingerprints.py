"""Compute the fingerprint of a checkpoint: a hash over the content of the files that loaders read.

`plan`, the router and the jobs call this module. Call `inspect.require_complete` first.
"""

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from ray_jobs.checkpoints.errors import translates_errors
from ray_jobs.checkpoints.files import ALL_SIDECAR_BYTES, SIDECAR_BYTES, is_regular, list_files, open_file, was_loaded
from ray_jobs.checkpoints.quantization import quantization_method
from ray_jobs.checkpoints.weights import list_loaded
from ray_jobs.contract.ids import digest, name_of
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import object_listing, uris

HASHERS = 8  # files hashed at once


@translates_errors
def with_fingerprint(uri: str, base: Checkpoint | None = None) -> Checkpoint:
    """Return the checkpoint with its fingerprint. Call `require_complete` first; `base` comes from `resolve`.

    Raises InputError if the base is quantised.
    """
    if base and (method := quantization_method(base.uri)):
        raise InputError(
            f"checkpoint {uri}: its base model {base.uri} is quantised ({method}), and an adapter is merged into whole "
            "weights; name the base as it was before"
        )
    files = list_contents(uri, list_loaded(uri))
    file_digests = tuple((name, digest(size, version)) for name, size, version in files)
    return Checkpoint(
        uri=uri, name=name_of(uri), fingerprint=_hash_contents(files, base), base=base, files=file_digests
    )


@translates_errors
def compute_fingerprint(uri: str, base: Checkpoint | None = None) -> str:
    """Return a hash over the content of the loaded files. A copy under another name has the same fingerprint.

    On S3 the content of a file is represented by the SHA-256 that the store keeps, if the upload gave one, else by the
    ETag, an MD5. Neither costs a read. In a directory each file is read and hashed with SHA-256.
    """
    return _hash_contents(list_contents(uri, list_loaded(uri)), base)


@translates_errors
def compute_former_fingerprint(uri: str, base: Checkpoint | None = None) -> str | None:
    """Return the fingerprint by the former rule, which counted notes beside the model, or None without such notes."""
    entries = [entry for entry in list_files(uri) if was_loaded(entry.key)]
    notes = {entry.key: entry.size for entry in entries} if entries != list_loaded(uri) else {}
    notes = {name: size for name, size in notes.items() if not name.endswith(".safetensors")}
    if not notes or max(notes.values()) > SIDECAR_BYTES or sum(notes.values()) > ALL_SIDECAR_BYTES:
        return None
    if not all(is_regular(uri, entry.key) for entry in entries):
        return None
    return _hash_contents(list_contents(uri, entries), base)


def _hash_contents(files: Iterable[tuple[str, int, str]], base: Checkpoint | None) -> str:
    content: list[Any] = list(files)
    return digest(*content, *([base.fingerprint] if base else []))


def list_contents(uri: str, entries: list[object_listing.Entry]) -> list[tuple[str, int, str]]:
    """Return the name, the size in bytes and the content's hash or version of each file."""
    with ThreadPoolExecutor(HASHERS) as threads:
        versions = list(threads.map(partial(_read_version, uri), entries))
    return [(entry.key, entry.size, version) for entry, version in zip(entries, versions, strict=True)]


def _read_version(uri: str, entry: object_listing.Entry) -> str:
    local = uris.local_path(uri)
    if local is not None:
        return _hash_file(local / entry.key)
    return (object_listing.read_sha256(f"{uri}/{entry.key}") if entry.has_sha256 else None) or entry.version


def _hash_file(path: Path) -> str:
    with open_file(path) as file:  # open, then stat: opening makes a network file system refresh its attributes
        status = os.fstat(file.fileno())
    return _hash_state(path, (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))


@lru_cache(maxsize=1024)
def _hash_state(path: Path, state: tuple[int, ...]) -> str:
    """Return the SHA-256 of a file. The file is read once per `state`, which every write changes."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
