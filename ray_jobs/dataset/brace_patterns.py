"""Expand a source like `s3://b/train-{000..099}.tar` into the names of its files, within bounds.

`plan` and the jobs call this module. It looks at no file, except to see whether a path with braces exists.
"""

import re
from itertools import pairwise

from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import uris

MOST_FILES = 200_000  # files that a pattern may name, because each file costs a request of its own
SPAN = re.compile(r"(-?\d{1,18}|[A-Za-z])\.\.(-?\d{1,18}|[A-Za-z])(?:\.\.(-?\d{1,18}))?", re.ASCII)


def expand_pattern(source: str) -> list[str]:
    """Return the files that a source like `s3://b/train-{000..099}.tar` names, or the source itself without a pattern.

    Raises InputError if the braces do not match, or name more than MOST_FILES files.
    """
    local = uris.local_path(source)
    if "{" not in source or (local is not None and local.exists()):
        return [source]
    from braceexpand import braceexpand

    if (count := count_named_files(source)) > MOST_FILES:
        raise InputError(
            f"dataset {source[:200]}: its braces name {count:.3g} files, over {MOST_FILES}; name the folder"
        )
    try:
        return list(braceexpand(source, escape=False))
    except (ValueError, RecursionError):
        raise InputError(
            f"dataset {source[:200]}: its braces do not match; write a pattern like train-{{000..099}}.tar"
        ) from None


def count_named_files(pattern: str, depth: int = 0) -> int:
    """Count the files that a pattern of braces names, without expanding it. A count above MOST_FILES is not exact."""
    if depth > 20:
        return MOST_FILES + 1
    count, position = 1, 0
    while (start := pattern.find("{", position)) >= 0:
        level, cuts, end = 0, [start], -1
        for index in range(start, len(pattern)):
            level += {"{": 1, "}": -1}.get(pattern[index], 0)
            if level == 0:
                end = index
                break
            if level == 1 and pattern[index] == ",":
                cuts.append(index)
        if end < 0:  # the braces do not match
            return count
        pieces = [pattern[low + 1 : high] for low, high in pairwise([*cuts, end])]
        if len(pieces) == 1 and (span := SPAN.fullmatch(pieces[0])):
            first, last = (
                (int(end_text) if end_text.lstrip("-").isdecimal() else ord(end_text)) for end_text in span.group(1, 2)
            )
            count *= abs(last - first) // max(abs(int(span[3] or 1)), 1) + 1
        else:
            count *= sum(count_named_files(piece, depth + 1) for piece in pieces)
        if count > MOST_FILES:
            return count
        position = end + 1
    return count
