"""Opens a local file that somebody else wrote, and refuses everything that is no regular file.

Opening a pipe waits for a writer, and reading a device may never end. The control plane and the jobs call this.
"""

import os
import stat
from io import BufferedReader
from pathlib import Path


class NotRegularError(Exception):
    """The path leads to a device, a pipe, a socket or a directory."""


def open_regular(path: str | Path) -> BufferedReader:
    """Returns the file, open for reading. Raises NotRegularError, and OSError if it cannot be opened."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegularError
    return os.fdopen(descriptor, "rb")
