"""Read and prepare the images of a part one by one, after its process died, so that a bad image costs only itself.

This runs in a Ray worker. The worker calls the decoder's process for everything that touches the source.
"""

import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.golden.build_part import prepare_row
from ray_jobs.golden.decoder_process import Decoder, Outcome, ProcessDied, end_process_after
from ray_jobs.golden.part_plan import PlannedPart, read_refs
from ray_jobs.images.prepare import Reject
from ray_jobs.inputs.errors import RetryableError
from ray_jobs.inputs.names import printable
from ray_jobs.sources.source import ImageRef, Source, SourceImage

T = TypeVar("T")

CHUNK = 32  # the most images whose bytes are in the temporary folder at once
PROBED = 16  # images that the probe prepares to measure the time per image
READ_SECONDS = 300.0  # for reading a chunk or one image; if it takes longer, the storage is at fault
READ_CPU_SECONDS = 120.0  # of computing while reading; if it takes longer, the file is at fault


def read_part_seconds() -> float:
    """The seconds that decoding a part may take, and that reading it may take: ASSAY_PART_SECONDS, or an hour."""
    return float(os.environ.get("ASSAY_PART_SECONDS") or 3600)


def prepare_alone(
    decoder: Decoder, source: Source, golden_uri: str, task: dict[str, Any], clock: defaultdict[str, float]
) -> Iterator[tuple[SourceImage, Outcome]]:
    """The rows of a part, each read and prepared in the decoder's process, without the bytes of their images.

    Rows after ASSAY_PART_SECONDS of decoding are rejects. Raises RetryableError after ASSAY_PART_SECONDS of reading,
    because slow storage is no image's fault, and a reject is permanent.
    """
    reading = decoding = 0.0
    wanted = _read(decoder, read_refs, golden_uri, task["file"], task["group"], what=f"the plan of {golden_uri}")
    for start in range(0, len(wanted), CHUNK):
        with TemporaryDirectory(prefix="assay-rows-") as folder:
            began = time.perf_counter()
            rows = read_rows(decoder, source, wanted[start : start + CHUNK], folder)
            took = time.perf_counter() - began
            clock["read"] += took
            reading += took
            if reading > read_part_seconds():
                raise RetryableError(
                    _describe_slow_read(f"the images of part {task.get('name', task['group'])}", read_part_seconds())
                )
            for row in rows:
                if decoding > read_part_seconds():
                    yield row, Reject("timeout", f"not tried: its part took over {read_part_seconds():g} s before it")
                    continue
                began = time.perf_counter()
                outcome = decoder.prepare_with_retry(prepare_row, row)
                decoding += time.perf_counter() - began
                yield row, outcome


def read_rows(decoder: Decoder, source: Source, wanted: Sequence[ImageRef], folder: str) -> list[SourceImage]:
    """The rows, with their images in files of the folder. A row whose reading ends the process has no image.

    An image is at fault only when reading it computes too long, crashes or takes too much memory. Raises RetryableError
    when the bytes of an image do not come in time, or when the process is killed.
    """
    with suppress(ProcessDied, MemoryError):
        return decoder.run(spool, source, wanted, folder, READ_CPU_SECONDS, seconds=READ_SECONDS)
    rows: list[SourceImage] = []
    for image in wanted:
        try:
            rows += _read(decoder, spool, source, [image], folder, READ_CPU_SECONDS, what=image.image_id)
        except MemoryError:
            rows.append(SourceImage(image.image_id, None, detail=f"takes more than {decoder.megabytes} MB to read"))
        except ProcessDied as error:
            if error.signal == signal.SIGKILL:
                raise RetryableError(
                    f"the reader of {image.image_id} was killed: {error}; is there memory enough?"
                ) from None
            why = f"over {READ_CPU_SECONDS:g} s of computing" if error.signal == signal.SIGPROF else str(error)
            rows.append(SourceImage(image.image_id, None, detail=f"cannot be read: {why}"))
    return rows


def _read(decoder: Decoder, work: Callable[..., T], *arguments: Any, what: str) -> T:
    """The result of `work` in the decoder's process.

    Raises RetryableError after READ_SECONDS, and ProcessDied when the process dies in another way.
    """
    try:
        return decoder.run(work, *arguments, seconds=READ_SECONDS)
    except ProcessDied as error:
        if error.signal == signal.SIGALRM:
            raise RetryableError(_describe_slow_read(printable(what), READ_SECONDS)) from None
        raise


def _describe_slow_read(what: str, seconds: float) -> str:
    return (
        f"{what}: not read within {seconds:g} s; look at the storage and the network, or, where they are as slow as "
        "this, raise ASSAY_PART_SECONDS; what is done is kept"
    )


def spool(source: Source, wanted: Sequence[ImageRef], folder: str, cpu_seconds: float) -> list[SourceImage]:
    """The rows as the source reads them, with the bytes of their images in files of the folder.

    Ends this process after `cpu_seconds` of computing.
    """
    with end_process_after(cpu_seconds, signal.ITIMER_PROF):
        return _spool(source, wanted, folder)


def _spool(source: Source, wanted: Sequence[ImageRef], folder: str) -> list[SourceImage]:
    rows = []
    for number, row in enumerate(source.read(wanted)):
        if row.data is not None:
            path = Path(folder, str(number))
            path.write_bytes(row.data)
            row = replace(row, data=None, file=path)
        rows.append(row)
    return rows


def measure_seconds_per_image(source: Source, golden_uri: str, part: PlannedPart, settings: Preprocess) -> float:
    """The mean seconds for reading and preparing one of the part's first images in this process."""
    chosen = read_refs(golden_uri, part.file, part.group)[:PROBED]
    prepare_row(next(iter(source.read(chosen[:1]))), settings)  # the first image loads the imports
    began = time.perf_counter()
    for row in source.read(chosen):
        prepare_row(row, settings)
    return (time.perf_counter() - began) / len(chosen)
