"""Whether the store that a root is on can be relied on: tried once a root, by `plan` and at every job's start."""

import uuid

from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import objects

MARK = "probes/conditional-create"  # below the root, once the store has passed


def require_conditional_create(root: str) -> None:
    """Raises InputError for a store that ignores `If-None-Match: *`, for then two jobs may both write a manifest."""
    if not objects.is_s3(root) or objects.exists(f"{root}/{MARK}"):
        return
    trial = f"{root}/probes/{uuid.uuid4().hex}"
    objects.create(trial, b"first")
    try:
        second, content = objects.create(trial, b"second"), objects.read(trial)
    finally:
        objects.delete(trial)
    if second or content != b"first":
        raise InputError(
            f"root {root}: the store ignores `If-None-Match: *`, so that one job could write over another's result; "
            "use a store that honours it (AWS S3, MinIO, SeaweedFS, Ceph, Swift) or upgrade this one"
        )
    objects.write(f"{root}/{MARK}", b"passed")
