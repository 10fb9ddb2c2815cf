"""Summarise a golden set's rejects for the job's last line: the first reject, and the commonest cause."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

import pyarrow as pa

from ray_jobs.inputs.names import printable
from ray_jobs.storage.arrow_files import open_parquet

MAX_CAUSES = 10_000  # the most causes that are counted, because each image may have a different cause
MAX_CHARACTERS = 100  # the most characters of an image id, and of a detail


def describe_rejects(golden_uri: str) -> str:
    """A clause about the rejects in `rejects.parquet`; empty when the file cannot be read or has no rejects."""
    try:
        return summarise(_read(f"{golden_uri}/rejects.parquet"))
    except (OSError, pa.ArrowException):  # the caller still writes its own line
        return ""


def summarise(rejects: Iterable[tuple[str, str, str]]) -> str:
    """The first of these rejects (image id, reason, detail), and an example of the commonest cause if that differs.

    Two rejects have the same cause when the text after their place is equal, apart from numbers.
    """
    counts, examples = Counter[str](), dict[str, tuple[str, str]]()
    for image_id, reason, detail in rejects:
        if reason == "joined":  # a joined image loses nothing
            continue
        cause = re.sub(r"\d+", "0", detail.rpartition(": ")[2] or reason)[:300]
        if cause not in counts and len(counts) >= MAX_CAUSES:
            continue
        counts[cause] += 1
        examples.setdefault(cause, (image_id, shorten(detail or reason)))
    if not counts:
        return ""
    first = next(iter(examples))
    cause, count = max(counts.items(), key=lambda item: item[1])
    image_id, detail = examples[first]
    line = f"the first, {printable(image_id, MAX_CHARACTERS)}: {detail}"
    return line if cause == first else f"{line}; {count} times: {examples[cause][1]}"


def shorten(detail: str) -> str:
    """One line of at most MAX_CHARACTERS. A long detail loses part of the place, not the cause."""
    detail = " ".join(detail.split())
    if len(shown := printable(detail, 3 * MAX_CHARACTERS)) <= MAX_CHARACTERS:
        return shown
    place, _, cause = detail.rpartition(": ")
    cause = printable(cause, MAX_CHARACTERS)
    room = MAX_CHARACTERS - len(cause) - 2
    return f"{printable(place, room)}: {cause}" if place and room > 10 else cause


def _read(uri: str) -> Iterator[tuple[str, str, str]]:
    with open_parquet(uri) as file:
        for batch in file.iter_batches(columns=["image_id", "reason", "detail"]):
            yield from zip(*(batch[name].to_pylist() for name in ("image_id", "reason", "detail")), strict=True)
