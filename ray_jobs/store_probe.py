"""Whether the store that a root is on can be relied on: tried once a root, by `plan` and at every job's start."""

import uuid

from ray_jobs import storage
from ray_jobs.errors import BadInput

MARK = "probes/conditional-create"  # below the root, once the store has passed


def require_conditional_create(root: str) -> None:
    """Raises BadInput for a store that ignores `If-None-Match: *`, for then two jobs may both write a manifest."""
    if not storage.is_s3(root) or storage.exists(f"{root}/{MARK}"):
        return
    trial = f"{root}/probes/{uuid.uuid4().hex}"
    storage.create(trial, b"first")
    try:
        second, content = storage.create(trial, b"second"), storage.read(trial)
    finally:
        storage.delete(trial)
    if second or content != b"first":
        raise BadInput(
            f"root {root}: the store ignores `If-None-Match: *`, so that one job could write over another's result; "
            "use a store that honours it (AWS S3, MinIO, SeaweedFS, Ceph, Swift) or upgrade this one"
        )
    storage.write(f"{root}/{MARK}", b"passed")
