"""A folder per engine for the sockets and the file by which vLLM's processes meet, because vLLM removes none of them.

Without it, each engine leaves three sockets and a file in TMPDIR. The process that starts vLLM makes the folder, and
holds a lock on it. The kernel releases the lock when that process ends, however it ends. Then the next engine of this
user on the node removes the folder.
"""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from uuid import uuid4

from ray_jobs.fork_server.socket_folder import open_folder

VARIABLE = "VLLM_RPC_BASE_PATH"  # vLLM makes its sockets there; by default in TMPDIR
PREFIX = "engine-"
MAX_SOCKET_PATH = 107  # bytes that the kernel allows
SOCKET_NAME = len(f"/{uuid4()}")


def use_engine_folder() -> None:
    """Have vLLM, when this process starts it, use a folder of this process. Removes the folders of ended engines.

    Nothing changes if VARIABLE is set, if this user has no private folder, or if its path is too long for sockets.
    """
    if os.environ.get(VARIABLE):
        return
    with suppress(OSError):
        shared = open_folder()
        try:
            fcntl.flock(shared, fcntl.LOCK_EX)  # so that no other engine removes a folder that has no lock yet
            path = os.readlink(f"/proc/self/fd/{shared}")
            _remove_unused(path)
            if len(os.fsencode(f"{path}/{PREFIX}12345678")) + SOCKET_NAME > MAX_SOCKET_PATH:
                return
            folder = tempfile.mkdtemp(prefix=PREFIX, dir=path)
            fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX)  # stays open until this process ends
            os.environ[VARIABLE] = folder
        finally:
            os.close(shared)


def _remove_unused(path: str) -> None:
    for entry in os.scandir(path):
        if entry.name.startswith(PREFIX):
            with suppress(OSError):
                folder = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                try:
                    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(entry.path, ignore_errors=True)
                finally:
                    os.close(folder)
