"""Recognise pointers of Git LFS. A clone has these small text files in place of large files that were not fetched."""

PREFIX = b"version https://git-lfs.github.com/spec/"
MAX_BYTES = 1024  # as Git LFS specifies
REMEDY = "a pointer of Git LFS, not the file; run git lfs pull in its clone, then copy it again"


def is_pointer(head: bytes) -> bool:
    """Whether a file whose first bytes are `head` is a pointer."""
    return head.startswith(PREFIX)
