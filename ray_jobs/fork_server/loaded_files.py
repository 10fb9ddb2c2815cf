"""Notices that a file which the fork server has loaded was changed since, so that no job runs old code."""

import os
import sys

Fingerprint = tuple[int, int, int, int]  # time of change of content, of the inode, size, inode


def fingerprint_loaded() -> dict[str, Fingerprint | None]:
    """Returns the fingerprints of all loaded modules' files, and of the folders that packages are installed in."""
    named = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    files = {file for file in named if isinstance(file, str)}
    folders = {entry for entry in sys.path if os.path.basename(entry) in ("site-packages", "dist-packages")}
    return {path: _fingerprint(path) for path in sorted(files | folders)}


def find_changed(fingerprints: dict[str, Fingerprint | None]) -> str | None:
    """Returns the path of a file that has another fingerprint now, None if there is none."""
    return next((path for path, fingerprint in fingerprints.items() if _fingerprint(path) != fingerprint), None)


def find_written(fingerprints: dict[str, Fingerprint | None], moment: float) -> str | None:
    """Returns the path of a file that was written after the moment, in seconds since 1970; None if there is none.

    What was loaded of such a file may be older than the file.
    """
    for path, fingerprint in fingerprints.items():
        if fingerprint and max(fingerprint[:2]) >= moment * 1e9:
            return path
    return None


def _fingerprint(path: str) -> Fingerprint | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
