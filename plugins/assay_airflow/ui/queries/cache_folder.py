"""The pages' cache on the disk of the API server: copies of parts, and tables made of them.

All of it can be made again, and the least recently used goes first. The folder is private to
this user, as `private_cache` has it.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from ray_jobs.inputs.errors import InputError
from ray_jobs.runtime.private_cache import ensure_cache_folder

DEFAULT_GB = 16.0
VARIABLE = "ASSAY_PAGES_CACHE_GB"


def find_pages_cache() -> Path:
    """Returns the folder, and makes it if it is missing. Raises InputError when no folder can be private."""
    folder = Path(os.path.realpath(ensure_cache_folder())) / "pages"
    for name in ("parts", "tables", "spill"):
        (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def read_limit() -> int:
    """Returns how many bytes the copies, and how many the tables, may take: half of ASSAY_PAGES_CACHE_GB each."""
    text = os.environ.get(VARIABLE, "")
    try:
        gigabytes = float(text or DEFAULT_GB)
    except ValueError:
        gigabytes = -1.0
    if not 0 < gigabytes < 1e6:
        raise InputError(f"{VARIABLE}={text!r}: not a number of gigabytes above 0; correct it for the API server")
    return int(gigabytes * 1e9 / 2)


def mark_used(path: Path) -> None:
    with suppress(OSError):
        os.utime(path)


def trim(folder: Path, at_most: int, keep: set[Path]) -> None:
    """Remove files or folders directly in `folder`, the least recently used first, until the rest fits.

    The paths in `keep` stay, because a query reads them now.
    """
    items = []
    for path in folder.iterdir():
        with suppress(OSError):
            items.append((path.stat().st_mtime, path, _measure(path)))
    total = sum(size for _, _, size in items)
    for _, path, size in sorted(items, key=lambda item: item[0]):
        if total <= at_most:
            return
        if path in keep:
            continue
        with suppress(OSError):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            total -= size


def _measure(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.iterdir() if file.is_file())
