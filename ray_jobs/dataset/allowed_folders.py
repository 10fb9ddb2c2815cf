"""Say which folders a local data set, and the files that a suite names for it, may lie in, and which never.

Both planes use this: the reader of a source for the places that a data set names, and `plan` for a suite's tables.
"""

import os
import re
from pathlib import Path

from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable
from ray_jobs.storage import objects

SYSTEM = ("/proc", "/sys", "/dev", "/run")  # no data, but secrets of processes, and files without an end
DATA = ("/dev/shm", "/run/media")  # noqa: S108 - in the system, and yet people keep data there


def list_allowed() -> list[str]:
    """The entries of ASSAY_SOURCES: what the deployment allows beyond public addresses and a data set's own folder."""
    return [entry for entry in re.split(r"[,\s]+", os.environ.get("ASSAY_SOURCES", "")) if entry]


def list_allowed_folders() -> list[str]:
    return [entry for entry in list_allowed() if entry.startswith("/")]


def list_own_folders(home: str) -> list[str]:
    """The data set's folder; of a snapshot of Hugging Face's cache also `blobs`, where the links of its files lead."""
    real = Path(os.path.realpath(home))
    cached = next((folder for folder in real.parents if folder.name == "snapshots"), None)
    return [str(real), *([str(cached.parent / "blobs")] if cached else [])]


def find_home(source: str) -> Path | None:
    """The folder of a local source: the source itself, or that of its file or of the files that its pattern names.

    None for a source elsewhere, and for the root of the file system, which is no data set's own.
    """
    path = Path(source.removeprefix("file://").partition("{")[0])
    if not path.is_absolute():
        return None
    home = path if path.is_dir() and "{" not in source else path.parent
    return None if os.path.realpath(home) == "/" else home


def refuse_system_path(uri: str, what: str) -> None:
    """Raise InputError for a local path that leads into the system, links followed."""
    if objects.is_s3(uri):
        return
    try:
        path = Path(objects.absolute(uri)).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a null byte
        raise InputError(f"{what} {printable(uri)}: not a path ({printable(str(error))}); correct the suite") from None
    if path == Path("/"):
        raise InputError(f"{what} {printable(uri)}: is the root of the system; name a folder of data")
    if any(map(path.is_relative_to, SYSTEM)) and not any(map(path.is_relative_to, DATA)):
        raise InputError(f"{what} {printable(uri)}: leads into the system, where no data is; correct the suite")
