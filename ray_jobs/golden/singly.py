"""The images of a part one by one, for a part whose process died: each costs itself alone, its reading too.

Runs in a Ray worker, which calls the decoder's process for everything that touches the source.
"""

import os
import signal
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ray_jobs.contract import Preprocess, Trouble
from ray_jobs.golden.isolation import Decoder, Died, Prepared, limited
from ray_jobs.golden.planning import PlannedPart, located
from ray_jobs.images.bounds import most_bytes
from ray_jobs.images.prepare import Reject, prepare_file, read_file
from ray_jobs.images.rejected import Rejected
from ray_jobs.sources import Located, Row, Source

CHUNK = 32  # images whose bytes lie in the temporary folder at a time
PROBED = 16  # images prepared beforehand to learn how long one takes
READ_SECONDS = 300.0  # in which a chunk, or an image of it, must be read


def part_seconds() -> float:
    """How long a part may take: ASSAY_PART_SECONDS, or an hour."""
    return float(os.environ.get("ASSAY_PART_SECONDS") or 3600)


def prepared(row: Row, settings: Preprocess) -> Prepared:
    """The row's golden image, or why there is none; ends the process when decoding takes too long."""
    data = row.data
    if data is None and row.file is None:
        return Reject("unreadable-source", row.detail)
    try:
        if data is None and row.file is not None:
            data = read_file(row.file)  # before the clock runs: a slow disk is not the image's doing
    except Rejected as error:
        return Reject(error.reason, error.detail)
    if len(data or b"") > most_bytes():
        return Reject("too-large", f"{len(data or b'')} bytes, over {most_bytes()}; ASSAY_MAX_IMAGE_MB may allow more")
    with limited(settings.decode_seconds):
        return prepare_file(row.image_id, data or b"", settings)


def prepare_alone(
    decoder: Decoder, source: Source, golden_uri: str, task: dict[str, Any], clock: defaultdict[str, float]
) -> Iterator[tuple[Row, Prepared]]:
    """The rows of a part, each read and prepared in the decoder's process; those after ASSAY_PART_SECONDS are rejects.

    The rows' images are not in them.
    """
    began = time.monotonic()
    wanted: list[Located] = decoder.run(located, golden_uri, task["file"], task["group"], seconds=READ_SECONDS)
    for start in range(0, len(wanted), CHUNK):
        with TemporaryDirectory(prefix="assay-rows-") as folder:
            reading = time.perf_counter()
            rows = read_rows(decoder, source, wanted[start : start + CHUNK], folder)
            clock["read"] += time.perf_counter() - reading
            for row in rows:
                if time.monotonic() - began > part_seconds():
                    yield row, Reject("timeout", f"not tried: its part took over {part_seconds():g} s before it")
                else:
                    yield row, decoder.alone(prepared, row)


def read_rows(decoder: Decoder, source: Source, wanted: Sequence[Located], folder: str) -> list[Row]:
    """The rows with their images in files of the folder; one whose reading ends the process has no image."""
    with suppress(Died, MemoryError):
        return decoder.run(spool, source, wanted, folder, seconds=READ_SECONDS)
    rows: list[Row] = []
    for image in wanted:
        try:
            rows += decoder.run(spool, source, [image], folder, seconds=READ_SECONDS)
        except MemoryError:
            rows.append(Row(image.image_id, None, detail=f"takes more than {decoder.megabytes} MB to read"))
        except Died as error:
            if error.signal == signal.SIGKILL:
                raise Trouble(f"the reader of {image.image_id} was killed: {error}; is there memory enough?") from None
            why = f"over {READ_SECONDS:g} s" if error.signal == signal.SIGALRM else str(error)
            rows.append(Row(image.image_id, None, detail=f"cannot be read: {why}"))
    return rows


def spool(source: Source, wanted: Sequence[Located], folder: str) -> list[Row]:
    """The rows as the source reads them, with the bytes of their images in files of the folder."""
    rows = []
    for number, row in enumerate(source.read(wanted)):
        if row.data is not None:
            path = Path(folder, str(number))
            path.write_bytes(row.data)
            row = replace(row, data=None, file=path)
        rows.append(row)
    return rows


def seconds_an_image(source: Source, golden_uri: str, part: PlannedPart, settings: Preprocess) -> float:
    """Seconds that reading and preparing one of the part's first images takes in this process."""
    chosen = located(golden_uri, part.file, part.group)[:PROBED]
    prepared(next(iter(source.read(chosen[:1]))), settings)  # the process imports what it needs
    began = time.perf_counter()
    for row in source.read(chosen):
        prepared(row, settings)
    return (time.perf_counter() - began) / len(chosen)
