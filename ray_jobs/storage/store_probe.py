"""Checks that the store of a root honours a conditional create. The check runs once per root.

`plan` calls it, and the frame at the start of every job.
"""

import uuid

from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import objects, uris

MARK = "probes/conditional-create"  # a file below the root, written once the store has passed


def require_conditional_create(root: str) -> None:
    """Raises InputError for a store that ignores `If-None-Match: *`, because two jobs could then write one manifest."""
    if not uris.is_s3(root) or objects.exists(f"{root}/{MARK}"):
        return
    uri = f"{root}/probes/{uuid.uuid4().hex}"
    objects.create(uri, b"first")
    try:
        was_created, content = objects.create(uri, b"second"), objects.read(uri)
    finally:
        objects.delete(uri)
    if was_created or content != b"first":
        raise InputError(
            f"root {root}: the store ignores `If-None-Match: *`, so that one job could write over another's result; "
            "use a store that honours it (AWS S3, MinIO, SeaweedFS, Ceph, Swift) or upgrade this one"
        )
    objects.write(f"{root}/{MARK}", b"passed")
