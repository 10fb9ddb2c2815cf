"""Fingerprints of checkpoints without reading the same weights twice.

In a directory a fingerprint costs a hash over every byte, and the router asks for all of them at every pass. So the
answer is kept below the storage root, by names, sizes, times and inodes: a copy that keeps size and modification time
(`cp -p`, `rsync -t`, tar) has another change time. On S3 a listing is enough.
"""

from ray_jobs.checkpoints import inspect
from ray_jobs.checkpoints.former_fingerprints import has_runs, keep_former
from ray_jobs.contract.ids import digest, name_of
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.storage import objects

OF_LOADED_FILES = "of loaded files"  # in the names of answers by today's rule


def resolve(root: str, uri: str, base_model: str | None = None) -> Checkpoint:
    """`checkpoint.resolve`, from the kept answer where the listing has not changed. Raises what that raises."""
    uri = objects.absolute(uri)
    inspect.check_whole(uri)
    base_uri = inspect.base_of(uri, base_model)
    base = resolve(root, base_uri) if base_uri else None
    if objects.is_s3(uri):
        return _name_without_files(root, uri, base)
    listing = [(entry.key, entry.size, entry.version) for entry in inspect.list_files(uri)]
    state = [uri, listing, *([base.fingerprint] if base else [])]
    folder = f"{objects.absolute(root)}/fingerprints"
    kept = f"{folder}/{digest(OF_LOADED_FILES, *state)}"
    try:
        return Checkpoint(uri=uri, name=name_of(uri), fingerprint=objects.read(kept).decode(), base=base)
    except FileNotFoundError:
        found = _with_runs(root, uri, base, f"{folder}/{digest(*state)}") or _name_without_files(root, uri, base)
        objects.write(kept, found.fingerprint.encode())
        return found


def _with_runs(root: str, uri: str, base: Checkpoint | None, kept: str) -> Checkpoint | None:
    """The checkpoint by the answer that an earlier version kept, which may cover notes, where it has runs by that.

    `plan` then knows it by that fingerprint too. Of one without runs it does not, and the router would wait for a
    record under a name that no run has.
    """
    try:
        found = Checkpoint(uri=uri, name=name_of(uri), fingerprint=objects.read(kept).decode(), base=base)
    except FileNotFoundError:
        return None
    return found if has_runs(root, found) else None


def _name_without_files(root: str, uri: str, base: Checkpoint | None) -> Checkpoint:
    """The checkpoint without the hashes of its files: the router keeps thousands of them, and none is loaded there."""
    return keep_former(root, inspect.named(uri, base)).model_copy(update={"files": ()})
