"""Pointers of Git LFS: the small texts that lie in a clone in place of its large files until these are fetched."""

PREFIX = b"version https://git-lfs.github.com/spec/"
MAX_BYTES = 1024  # by its specification
REMEDY = "a pointer of Git LFS, not the file; run git lfs pull in its clone, then copy it again"


def is_pointer(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a pointer."""
    return head.startswith(PREFIX)
