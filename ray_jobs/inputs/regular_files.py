"""Open a local file that somebody else wrote: a regular one at once, anything else not at all.

Opening a pipe waits for a writer, and reading a device may never end. Both planes open files through this.
"""

import os
import stat
from io import BufferedReader
from pathlib import Path


class NotRegularError(Exception):
    """The path leads to a device, a pipe, a socket or a directory."""


def open_regular(path: str | Path) -> BufferedReader:
    """The file, open for reading. Raises NotRegularError, and OSError where it cannot be opened."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegularError
    return os.fdopen(descriptor, "rb")
