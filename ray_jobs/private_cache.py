"""The private folder where a machine keeps what it can make again: copies of checkpoints, hashes of files."""

import os
import stat
from pathlib import Path

from ray_jobs.errors import BadInput


def cache() -> Path:
    """The folder of this user, made when it is not there.

    Raises BadInput where it cannot be this user's alone. A folder of another owner that ASSAY_CACHE names, such as a
    volume of the cluster, gets a private folder in it.
    """
    named, uid = os.environ.get("ASSAY_CACHE"), os.getuid()
    try:
        folder = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "assay"
        folder.parent.mkdir(parents=True, exist_ok=True)
        if named and folder.is_dir() and not folder.is_symlink() and folder.stat().st_uid != uid:
            folder /= f"assay-{uid}"
        folder.mkdir(mode=0o700, exist_ok=True)
        status = os.lstat(folder)
    except (OSError, RuntimeError) as error:
        raise BadInput(f"the cache: {error}; set ASSAY_CACHE to a folder that this user may write to") from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != uid:
        raise BadInput(
            f"the cache {folder} is a link or another user's, who could change what is loaded; remove it or set "
            "ASSAY_CACHE to a folder of this user"
        )
    if status.st_mode & 0o077:
        folder.chmod(0o700)
    return folder
