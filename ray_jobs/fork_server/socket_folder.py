"""The private folder of the sockets and locks of this user's fork servers on this machine."""

import os
import stat
from contextlib import suppress


def open_folder() -> int:
    """Returns a descriptor of the folder `assay-fork-{uid}` below TMPDIR or /tmp, and creates the folder if missing.

    Raises OSError if the folder cannot be made, is a link, is another user's, or is open to others, who could take the
    server's place. The files in the folder are named relative to the descriptor, so nobody can swap the folder.
    """
    path = os.path.join(os.environ.get("TMPDIR") or "/tmp", f"assay-fork-{os.getuid()}")  # noqa: S108
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    status = os.fstat(folder)
    if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
        os.close(folder)
        raise PermissionError(f"{path}: is another user's, or open to other users")
    return folder


def socket_address(folder: int, key: str) -> str:
    """Returns a name of the server's socket that is short enough for the kernel, whatever the folder is called."""
    return f"/proc/self/fd/{folder}/{key}.sock"
