"""The private cache folder of this user on this machine: copies of checkpoints, hashes of files.

Both planes use it. Everything in it can be made again.
"""

import os
import stat
from pathlib import Path

from ray_jobs.inputs.errors import InputError


def ensure_cache_folder() -> Path:
    """Returns the folder of this user, and creates it if it is missing.

    An existing folder that others may use too, such as a volume of the cluster or a group's folder, stays as it is and
    gets a private folder in it. Raises InputError if no folder can be this user's alone.
    """
    configured, uid = os.environ.get("ASSAY_CACHE"), os.getuid()
    try:
        folder = (
            Path(configured)
            if configured
            else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "assay"
        )
        folder.parent.mkdir(parents=True, exist_ok=True)
        if _is_shared(folder, uid):
            folder /= f"assay-{uid}"
        folder.mkdir(mode=0o700, exist_ok=True)
        status = os.lstat(folder)
    except (OSError, RuntimeError) as error:
        raise InputError(f"the cache: {error}; set ASSAY_CACHE to a folder that this user may write to") from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != uid:
        raise InputError(
            f"the cache {folder} is a link or another user's, who could change what is loaded; remove it or set "
            "ASSAY_CACHE to a folder of this user"
        )
    if status.st_mode & 0o077:
        raise InputError(
            f"the cache {folder} is open to other users, who could change what is loaded; chmod 700 it or set "
            "ASSAY_CACHE to another folder"
        )
    return folder


def _is_shared(folder: Path, uid: int) -> bool:
    """Whether the path is a folder, not a link, that another user owns or may use."""
    try:
        status = os.lstat(folder)
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(status.st_mode) and (status.st_uid != uid or bool(status.st_mode & 0o077))
