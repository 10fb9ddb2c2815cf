"""Fingerprints of checkpoints without reading the same weights twice.

In a directory a fingerprint costs a hash over every byte, and the router asks for all of them at every pass. So the
answer is kept below the storage root, by names, sizes, times and inodes: a copy that keeps size and modification time
(`cp -p`, `rsync -t`, tar) has another change time. On S3 a listing is enough.
"""

from ray_jobs import checkpoint, storage
from ray_jobs.contract import Checkpoint, digest, name_of
from ray_jobs.former_fingerprints import keep_former


def resolve(root: str, uri: str, base_model: str | None = None) -> Checkpoint:
    """`checkpoint.resolve`, from the kept answer where the listing has not changed. Raises what that raises."""
    uri = storage.absolute(uri)
    checkpoint.check_whole(uri)
    base_uri = checkpoint.base_of(uri, base_model)
    base = resolve(root, base_uri) if base_uri else None
    if storage.is_s3(uri):
        return _named(root, uri, base)
    listing = [(entry.key, entry.size, entry.version) for entry in checkpoint.list_files(uri)]
    kept = f"{storage.absolute(root)}/fingerprints/{digest(uri, listing, *([base.fingerprint] if base else []))}"
    try:
        return Checkpoint(uri=uri, name=name_of(uri), fingerprint=storage.read(kept).decode(), base=base)
    except FileNotFoundError:
        found = _named(root, uri, base)
        storage.write(kept, found.fingerprint.encode())
        return found


def _named(root: str, uri: str, base: Checkpoint | None) -> Checkpoint:
    """The checkpoint without the hashes of its files: the router keeps thousands of them, and none is loaded there."""
    return keep_former(root, checkpoint.named(uri, base)).model_copy(update={"files": ()})
