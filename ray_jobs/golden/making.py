"""One part of the golden set, in a Ray task: read its images, have them decoded, write what came of them."""

import base64
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from ray_jobs import parts, storage
from ray_jobs.contract import Preprocess
from ray_jobs.golden.isolation import Prepared, decoder
from ray_jobs.golden.planning import located
from ray_jobs.images.prepare import Golden, thumbnail
from ray_jobs.sources import Row, Source

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
        "sha256": pa.string(),
    }
)
FACTS = ["image_id", "sha256", "repairs", "format", "source_bytes"]


def make_part(task: dict[str, Any], source: Source, golden_uri: str, settings: Preprocess) -> dict[str, Any]:
    """Make the planned part unless it is there; what is to be known of it, as `described` says.

    `origin` tells whether it was `made` here, `found`, or `raced`: made here too, but another job was first.
    """
    uri = parts.uri_of_part(golden_uri, task["name"])
    if storage.exists(uri):
        return described(task["name"], storage.read(uri), "found")
    clock: defaultdict[str, float] = defaultdict(float)
    rows = _timed(source.read(located(golden_uri, task["file"], task["group"])), clock)
    data = _part(decoder(settings).prepared(rows), clock)
    began = time.perf_counter()
    origin = "made" if storage.create(uri, data) else "raced"
    if origin == "raced":
        data = storage.read(uri)
    clock["write"] += time.perf_counter() - began
    return described(task["name"], data, origin) | {"seconds": json.dumps(clock)}


def drop_duplicates(task: dict[str, Any], golden_uri: str, settings: Preprocess) -> dict[str, Any]:
    """Reject the rows of a part that `repeats` (image id -> the earlier image's) names, in place.

    Doing it again changes nothing, and whoever does it writes the same bytes.
    """
    uri = parts.uri_of_part(golden_uri, task["name"])
    data = storage.read(uri)
    repeats: dict[str, str] = json.loads(task["repeats"])
    table, footer = parts.table(data), parts.footer(data)
    keep = [image_id not in repeats for image_id in table["image_id"].to_pylist()]
    if not all(keep):
        for row in table.filter([not kept for kept in keep]).select(["image_id", "image"]).to_pylist():
            detail = f"the same bytes as {repeats[row['image_id']]}"
            footer["rejects"].append(_reject(row["image_id"], "duplicate", detail, thumbnail(row["image"], settings)))
        footer["lost"] = _counted(footer["rejects"])
        data = parts.encoded(table.filter(keep), footer)
        storage.write(uri, data)
    return described(task["name"], data, "made")


def described(name: str, data: bytes, origin: str) -> dict[str, Any]:
    """Of a part's file: `part` for the manifest, `images` with the columns FACTS, `bytes`; one row for Ray Data."""
    images = parts.table(data, FACTS)
    return {
        "part": parts.describe(name, data).model_dump_json(),
        "origin": origin,
        "bytes": len(data),
        "image_ids": images["image_id"].to_pylist(),
        "sha256": images["sha256"].to_pylist(),
        "repairs": json.dumps(Counter(repair for repairs in images["repairs"].to_pylist() for repair in repairs)),
        "formats": json.dumps(Counter(images["format"].to_pylist())),
        "source_bytes": sum(images["source_bytes"].to_pylist()),
        "seconds": "{}",
    }


def _part(prepared: Iterable[tuple[Row, Prepared]], clock: defaultdict[str, float]) -> bytes:
    kept: list[dict[str, Any]] = []
    rejects: list[dict[str, Any]] = []
    for row, made in prepared:
        if isinstance(made, Golden):
            for phase, took in made.seconds.items():
                clock[phase] += took
            kept.append(_golden_row(row, made))
        else:
            rejects.append(_reject(row.image_id, made.reason, made.detail, made.thumbnail))
    table = pa.Table.from_pylist(kept, schema=SCHEMA)
    return parts.encoded(table, {"lost": _counted(rejects), "rejects": rejects})


def _golden_row(row: Row, made: Golden) -> dict[str, Any]:
    return {
        "image_id": row.image_id,
        "image": made.image,
        "width": made.width,
        "height": made.height,
        "label": row.label,
        "label_id": row.label_id,
        "references": row.references,
        "repairs": made.repairs,
        "format": made.format,
        "source_width": made.source_width,
        "source_height": made.source_height,
        "source_bytes": made.source_bytes,
        "sha256": made.sha256.hex(),
    }


def _reject(image_id: str, reason: str, detail: str, picture: bytes | None) -> dict[str, Any]:
    encoded = base64.b64encode(picture).decode() if picture else None
    return {"image_id": image_id, "reason": reason, "detail": detail, "thumbnail": encoded}


def _counted(rejects: list[dict[str, Any]]) -> dict[str, int]:
    return dict(sorted(Counter(reject["reason"] for reject in rejects).items()))


def _timed(rows: Iterator[Row], clock: defaultdict[str, float]) -> Iterator[Row]:
    """The rows, the time that each one was waited for on the clock."""
    while True:
        began = time.perf_counter()
        row = next(rows, None)
        clock["read"] += time.perf_counter() - began
        if row is None:
            return
        yield row
