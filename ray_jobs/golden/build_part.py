"""Build one part of the golden set: read its images, decode them, write the part.

`build_set` runs these functions in Ray tasks. The decoder's process of the Ray worker does the reading and decoding.
"""

import base64
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.fields.truth import TRUTH
from ray_jobs.golden.decoder_process import Outcome, ProcessDied, get_decoder
from ray_jobs.golden.part_plan import read_refs
from ray_jobs.golden.single_images import part_seconds, prepare_alone, prepare_row
from ray_jobs.images.prepare import GoldenImage, thumbnail
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


def make_part(task: dict[str, Any], source: Source, golden_uri: str, settings: Preprocess) -> dict[str, Any]:
    """Make the planned part unless it exists. Returns its row as `describe_part` does.

    The decoder's process makes the whole part. When that process dies, the part is made again, image by image. The Ray
    worker itself reads no source, because Ray registers Arrow types there that run code. Raises InputError on a node
    that does not share the root.
    """
    manifests.require_on_node(golden_uri)  # the folder has the plan
    uri = manifests.uri_of_part(golden_uri, task["name"])
    if objects.exists(uri):
        return describe_part(task["name"], objects.read(uri), "found")
    decoder = get_decoder(settings)
    try:
        return decoder.run(
            decode_part, task, source, golden_uri, partial(prepare_row, settings=settings), seconds=part_seconds()
        )
    except (ProcessDied, MemoryError):
        clock: defaultdict[str, float] = defaultdict(float)
        data = encode_part(prepare_alone(decoder, source, golden_uri, task, clock), clock)
        return write_part(task, golden_uri, data, clock) | {"isolated": True}


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


def join_references(task: dict[str, Any], golden_uri: str) -> dict[str, Any]:
    """Replace the references of the rows that the task's `references` (image id -> texts) names, in place.

    A second run changes nothing, and every job writes the same bytes. Returns the part's row as `describe_part` does.
    """
    uri = manifests.uri_of_part(golden_uri, task["name"])
    data = objects.read(uri)
    gained: dict[str, list[str]] = json.loads(task["references"])
    table, footer = parts.decode(data), parts.decode_footer(data)
    current_references = zip(table["image_id"].to_pylist(), table["references"].to_pylist(), strict=True)
    joined = [gained.get(image_id, references) for image_id, references in current_references]
    if joined != table["references"].to_pylist():
        column = table.schema.get_field_index("references")
        table = table.set_column(column, table.schema.field(column), pa.array(joined, pa.list_(pa.string())))
        data = parts.encode(table, footer)
        objects.write(uri, data)
    return describe_part(task["name"], data, "made")


def drop_duplicates(task: dict[str, Any], golden_uri: str, settings: Preprocess) -> dict[str, Any]:
    """Reject the rows that the task's `repeats` (image id -> id of the earlier image) names, in place.

    A second run changes nothing, and every job writes the same bytes. Returns the part's row as `describe_part` does.
    """
    uri = manifests.uri_of_part(golden_uri, task["name"])
    data = objects.read(uri)
    repeats: dict[str, str] = json.loads(task["repeats"])
    joined = set(json.loads(task["joined"]))
    table, footer = parts.decode(data), parts.decode_footer(data)
    keep = [image_id not in repeats for image_id in table["image_id"].to_pylist()]
    if not all(keep):
        for row in table.filter([not is_kept for is_kept in keep]).select(["image_id", "image"]).to_pylist():
            detail = f"the same bytes as {repeats[row['image_id']]}"
            reason = "duplicate"
            if row["image_id"] in joined:
                reason, detail = "joined", f"{detail}, which has its references too"
            footer["rejects"].append(_build_reject(row["image_id"], reason, detail, thumbnail(row["image"], settings)))
        footer["lost"] = _count_reasons(footer["rejects"])
        data = parts.encode(table.filter(keep), footer)
        objects.write(uri, data)
    return describe_part(task["name"], data, "made")


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
            rejects.append(_build_reject(row.image_id, outcome.reason, outcome.detail, outcome.thumbnail))
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in schema.names}
    table = pa.table(columns | {"image": _join_images(columns["image"])}, schema=schema)
    return parts.encode(table, {"lost": _count_reasons(rejects), "rejects": rejects})


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


def _build_reject(image_id: str, reason: str, detail: str, picture: bytes | None) -> dict[str, Any]:
    encoded = base64.b64encode(picture).decode() if picture else None
    return {"image_id": image_id, "reason": reason, "detail": detail, "thumbnail": encoded}


def _count_reasons(rejects: list[dict[str, Any]]) -> dict[str, int]:
    return dict(sorted(Counter(reject["reason"] for reject in rejects).items()))
