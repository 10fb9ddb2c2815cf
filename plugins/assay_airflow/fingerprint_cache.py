"""Cache the fingerprints of checkpoints, so that the router does not read the same weights at every pass.

In a directory, a fingerprint is a hash over every byte. The cache lies below the storage root. Its key covers names,
sizes, modification and change times, and inodes, because a copy can keep size and modification time (`cp -p`,
`rsync -t`, tar) but not the change time. On S3 nothing is cached: a listing has the fingerprint.
"""

from ray_jobs.checkpoints import adapter_base, files, fingerprints, inspect
from ray_jobs.checkpoints.former_fingerprints import find_former_fingerprint, has_runs
from ray_jobs.contract.ids import digest, name_of
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.storage import objects, uris

OF_LOADED_FILES = "of loaded files"  # part of the cache key since fingerprints leave out notes


def resolve(root: str, uri: str, base_model: str | None = None) -> Checkpoint:
    """The checkpoint at `uri`, from the cache if its listing has not changed. Raises what `inspect` raises."""
    uri = uris.make_absolute(uri)
    inspect.require_complete(uri)
    base_uri = adapter_base.find_base(uri, base_model)
    base = resolve(root, base_uri) if base_uri else None
    if uris.is_s3(uri):
        return _resolve_without_files(root, uri, base)
    listing = [(entry.key, entry.size, entry.version) for entry in files.list_files(uri)]
    state = [uri, listing, *([base.fingerprint] if base else [])]
    folder = f"{uris.make_absolute(root)}/fingerprints"
    cache_uri = f"{folder}/{digest(OF_LOADED_FILES, *state)}"
    try:
        return Checkpoint(uri=uri, name=name_of(uri), fingerprint=objects.read(cache_uri).decode(), base=base)
    except FileNotFoundError:
        former = _load_former(root, uri, base, f"{folder}/{digest(*state)}")
        checkpoint = former or _resolve_without_files(root, uri, base)
        objects.write(cache_uri, checkpoint.fingerprint.encode())
        return checkpoint


def _load_former(root: str, uri: str, base: Checkpoint | None, cache_uri: str) -> Checkpoint | None:
    """The checkpoint with the fingerprint that an earlier version cached, if it has runs under that fingerprint.

    Such a fingerprint may cover notes. If runs have it, `plan` uses it too. If none has it, `plan` uses another, and
    the router would wait for a record that no run writes.
    """
    try:
        former = Checkpoint(uri=uri, name=name_of(uri), fingerprint=objects.read(cache_uri).decode(), base=base)
    except FileNotFoundError:
        return None
    return former if has_runs(root, former) else None


def _resolve_without_files(root: str, uri: str, base: Checkpoint | None) -> Checkpoint:
    """The checkpoint without its file hashes: the router keeps thousands of checkpoints and loads none of them."""
    checkpoint = fingerprints.with_fingerprint(uri, base)
    return checkpoint.model_copy(update=find_former_fingerprint(root, checkpoint) | {"files": ()})
