"""Say which folders a local data set, and the files that a suite names for it, may lie in.

Both planes use this: the reader of a source for the places that a data set names, and `plan` for a suite's tables.
"""

import os
import re
from pathlib import Path


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
