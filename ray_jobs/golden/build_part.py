"""Build one part of the golden set: read its images, decode them, write the part.

The Ray tasks in `part_tasks` call these functions. The decoder's process of the Ray worker does the reading and
decoding.
"""

import base64
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.fields.truth import TRUTH
from ray_jobs.golden.decoder_process import Outcome, end_process_after
from ray_jobs.golden.part_plan import read_refs
from ray_jobs.images.bounds import max_image_bytes
from ray_jobs.images.prepare import GoldenImage, Reject, prepare, read_file, thumbnail
from ray_jobs.images.reject_reasons import ImageRejected
from ray_jobs.sources.source import Source, SourceImage
from ray_jobs.storage import manifests, objects, parts

SCHEMA = pa.schema(
    {
        "image_id": pa.string(),
        "image": pa.binary(),
        "width": pa.int32(),
        "height": pa.int32(),
        "label": pa.string(),
        "label_id": pa.string(),
        "references": pa.list_(pa.string()),
        "repairs": pa.list_(pa.string()),
        "format": pa.string(),
        "source_width": pa.int32(),
        "source_height": pa.int32(),
        "source_bytes": pa.int64(),
        "blake3": pa.string(),
    }
)
WITH_TRUTH = SCHEMA.append(pa.field(TRUTH, pa.string()))  # for a data set with right values of fields
FACTS = ["image_id", "blake3", "repairs", "format", "source_bytes", "label", "references"]


def prepare_row(row: SourceImage, settings: Preprocess) -> Outcome:
    """The row's golden image, or a reject with the reason. Ends this process when decoding takes too long.

    Raises RetryableError if the disk fails, MemoryError if the memory is too small.
    """
    data = row.data
    if data is None:
        if row.file is None:
            return Reject("unreadable-source", row.detail)
        try:
            data = read_file(row.file)  # before the time limit starts, because a slow disk is not the image's fault
        except ImageRejected as error:
            return Reject(error.reason, error.detail)
    if len(data) > max_image_bytes():
        return Reject("too-large", f"{len(data)} bytes, over {max_image_bytes()}; ASSAY_MAX_IMAGE_MB may allow more")
    with end_process_after(settings.decode_seconds):
        try:
            return prepare(data, settings, row.image_id)
        except ImageRejected as error:
            return Reject(error.reason, error.detail, thumbnail(data, settings))


def decode_part(
    task: dict[str, Any], source: Source, golden_uri: str, prepare: Callable[[SourceImage], Outcome]
) -> dict[str, Any]:
    """Make the whole part, in the decoder's process. Returns its row as `describe_part` does."""
    clock: defaultdict[str, float] = defaultdict(float)

    def prepare_rows() -> Iterator[tuple[SourceImage, Outcome]]:
        began = time.perf_counter()
        for row in source.read(read_refs(golden_uri, task["file"], task["group"])):
            clock["read"] += time.perf_counter() - began
            yield row, prepare(row)
            began = time.perf_counter()

    return write_part(task, golden_uri, encode_part(prepare_rows(), clock), clock)


def write_part(task: dict[str, Any], golden_uri: str, data: bytes, clock: defaultdict[str, float]) -> dict[str, Any]:
    """Write the part with these bytes unless another job was first. Returns its row as `describe_part` does."""
    began = time.perf_counter()
    uri = manifests.uri_of_part(golden_uri, task["name"])
    origin = "made" if objects.create(uri, data) else "raced"
    if origin == "raced":
        data = objects.read(uri)
    clock["write"] += time.perf_counter() - began
    return describe_part(task["name"], data, origin) | {"seconds": json.dumps(clock)}


def describe_part(name: str, data: bytes, origin: str) -> dict[str, Any]:
    """The facts about a part with these bytes, as one row for Ray Data.

    `part` is its line in the manifest. `origin` is `made` (this job made the part), `found` (the part existed), or
    `raced` (this job made the part, but another job was first). `isolated` says that the decoder's process died, so
    each image was decoded alone.
    """
    images = parts.decode(data, FACTS)
    return {
        "part": parts.describe(name, data).model_dump_json(),
        "origin": origin,
        "bytes": len(data),
        "image_ids": images["image_id"].to_pylist(),
        "blake3": images["blake3"].to_pylist(),
        "references": [json.dumps(references or []) for references in images["references"].to_pylist()],
        "repairs": json.dumps(Counter(repair for repairs in images["repairs"].to_pylist() for repair in repairs)),
        "formats": json.dumps(Counter(images["format"].to_pylist())),
        "source_bytes": sum(images["source_bytes"].to_pylist()),
        "referenced": sum(bool(references) for references in images["references"].to_pylist()),
        "labelled": sum(label is not None for label in images["label"].to_pylist()),
        "isolated": False,
        "seconds": "{}",
    }


def encode_part(prepared: Iterable[tuple[SourceImage, Outcome]], clock: defaultdict[str, float]) -> bytes:
    """The bytes of a part with these rows. Its rejects are in the footer. Adds the seconds per phase to `clock`."""
    rows: list[dict[str, Any]] = []
    rejects: list[dict[str, Any]] = []
    schema = SCHEMA
    for row, outcome in prepared:
        if row.truth is not None:  # the settings decide this for all rows alike
            schema = WITH_TRUTH
        if isinstance(outcome, GoldenImage):
            for phase, took in outcome.seconds.items():
                clock[phase] += took
            rows.append(_build_row(row, outcome))
        else:
            rejects.append(build_reject(row.image_id, outcome.reason, outcome.detail, outcome.thumbnail))
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in schema.names}
    table = pa.table(columns | {"image": _join_images(columns["image"])}, schema=schema)
    return parts.encode(table, {"lost": count_reasons(rejects), "rejects": rejects})


def _join_images(images: list[bytes]) -> pa.Array:
    """A column of images, built with one copy. Arrow's builder would copy all images each time it grows."""
    ends = np.cumsum([0, *map(len, images)], dtype=np.int32)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(images))]
    return pa.Array.from_buffers(pa.binary(), len(images), buffers)


def _build_row(row: SourceImage, outcome: GoldenImage) -> dict[str, Any]:
    return {
        "image_id": row.image_id,
        "image": outcome.image,
        "width": outcome.width,
        "height": outcome.height,
        "label": row.label,
        "label_id": row.label_id,
        "references": row.references,
        "repairs": outcome.repairs,
        "format": outcome.format,
        "source_width": outcome.source_width,
        "source_height": outcome.source_height,
        "source_bytes": outcome.source_bytes,
        "blake3": outcome.blake3.hex(),
        TRUTH: row.truth,
    }


def build_reject(image_id: str, reason: str, detail: str, picture: bytes | None) -> dict[str, Any]:
    """The entry of a rejected image in the footer of its part."""
    encoded = base64.b64encode(picture).decode() if picture else None
    return {"image_id": image_id, "reason": reason, "detail": detail, "thumbnail": encoded}


def count_reasons(rejects: list[dict[str, Any]]) -> dict[str, int]:
    """The number of rejects by reason."""
    return dict(sorted(Counter(reject["reason"] for reject in rejects).items()))
