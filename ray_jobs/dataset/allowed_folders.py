"""Decide in which local folders a data set and the files that a suite names may lie.

Both planes call this module: the reader of a source checks the places that a data set names, and `plan` checks the
tables of a suite.
"""

import os
import re
from pathlib import Path

from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable
from ray_jobs.storage import uris

SYSTEM = ("/proc", "/sys", "/dev", "/run")  # folders with secrets of processes, and with files without an end
DATA = ("/dev/shm", "/run/media")  # noqa: S108 - folders below SYSTEM in which people keep data


def list_allowed() -> list[str]:
    """Return the entries of ASSAY_SOURCES: places allowed beyond public addresses and a data set's own folder."""
    return [entry for entry in re.split(r"[,\s]+", os.environ.get("ASSAY_SOURCES", "")) if entry]


def list_allowed_folders() -> list[str]:
    """Return the entries of ASSAY_SOURCES that are local folders."""
    return [entry for entry in list_allowed() if entry.startswith("/")]


def list_own_folders(home: str) -> list[str]:
    """Return the data set's folder, and for a snapshot in Hugging Face's cache also `blobs`, where its links lead."""
    real = Path(os.path.realpath(home))
    cached = next((folder for folder in real.parents if folder.name == "snapshots"), None)
    return [str(real), *([str(cached.parent / "blobs")] if cached else [])]


def find_home(source: str) -> Path | None:
    """Return the folder of a local source: the source itself, or the folder of the files that the source names.

    Returns None for a source that is not local, and for the root of the file system, because no data set owns the root.
    """
    path = Path(source.removeprefix("file://").partition("{")[0])
    if not path.is_absolute():
        return None
    home = path if path.is_dir() and "{" not in source else path.parent
    return None if os.path.realpath(home) == "/" else home


def refuse_system_path(uri: str, role: str) -> None:
    """Raise InputError if a local path leads into a system folder, with links followed. `role` names its role."""
    if uris.is_s3(uri):
        return
    try:
        path = Path(uris.make_absolute(uri)).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # for example a loop of links, or a null byte
        raise InputError(f"{role} {printable(uri)}: not a path ({printable(str(error))}); correct the suite") from None
    if path == Path("/"):
        raise InputError(f"{role} {printable(uri)}: is the root of the system; name a folder of data")
    if any(map(path.is_relative_to, SYSTEM)) and not any(map(path.is_relative_to, DATA)):
        raise InputError(f"{role} {printable(uri)}: leads into the system, where no data is; correct the suite")
