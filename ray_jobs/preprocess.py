"""Prepare a golden set: every image of the source decoded, upright, RGB, on the patch grid, or rejected with a reason.

    python -m ray_jobs.preprocess --spec URI

The sample is cut into parts; Ray Data works on parts, and a part that is there is not done again. A golden set that is
complete is left as it is.
"""

import logging
import pickle
import sys
import time
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from ray_jobs import job, parts, storage
from ray_jobs.contract import BadInput, Part, Preprocess, Spec
from ray_jobs.images.decode import Rejected, decode
from ray_jobs.images.resize import encode, resize
from ray_jobs.progress import Progress
from ray_jobs.sources import Row, Source, open_source

log = logging.getLogger("assay")

SCHEMA = pa.schema(
    {
        "image_id": pa.string(),
        "image": pa.binary(),
        "width": pa.int32(),
        "height": pa.int32(),
        "source_width": pa.int32(),
        "source_height": pa.int32(),
        "label": pa.string(),
        "references": pa.list_(pa.string()),
        "repairs": pa.list_(pa.string()),
    }
)
REJECTS = pa.schema({"image_id": pa.string(), "reason": pa.string(), "detail": pa.string()})


def preprocess(spec: Spec) -> None:
    """Make the golden set of the spec complete."""
    if found := parts.manifest(spec.golden_uri):
        log.info("golden set %s is complete: %d images", spec.golden_uri, found.rows_out)
        return
    started = time.monotonic()
    source = open_source(spec.suite.dataset)
    chosen = sample(source.count(), spec.suite.dataset.limit, spec.suite.dataset.seed)
    rows = spec.suite.preprocess.part_rows
    chunks = {parts.name_of_part(i): chosen[i * rows : (i + 1) * rows] for i in range(-(-len(chosen) // rows))}
    listed = time.monotonic()
    log.info("golden set %s: %d images in %d parts", spec.golden_uri, len(chosen), len(chunks))

    made = list(_made(spec, source, chunks))
    worked = time.monotonic()
    if sum(part.rows for part in made) == 0:
        raise BadInput(_nothing_left(spec, made))
    _write_rejects(spec, made)
    manifest = parts.summed(
        "golden",
        spec.golden_id,
        made,
        rows_in=len(chosen),
        seconds={"list": round(listed - started, 3), "prepare": round(worked - listed, 3)},
        versions={name: version(name) for name in ("pillow", "pyarrow", "ray")},
        details={"source": spec.suite.dataset.source, "source_revision": spec.source_revision},
    )
    manifest = parts.commit(spec.golden_uri, manifest)
    log.info("golden set complete: %d read, %d kept, rejected %s", manifest.rows_in, manifest.rows_out, manifest.lost)


def sample(count: int, limit: int | None, seed: int) -> np.ndarray:
    """Sorted indices of the sample: all of them, or `limit` drawn without replacement with the seed."""
    if limit is None or limit >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, limit, replace=False))


def _made(spec: Spec, source: Source, chunks: dict[str, np.ndarray]) -> Iterator[Part]:
    """Every part of the golden set, made now or before, described for the manifest."""
    done = parts.done(spec.golden_uri)
    progress = Progress(
        "golden set", sum(map(len, chunks.values())), sum(len(chunks[name]) for name in done & chunks.keys())
    )
    tasks = [
        {"name": name, "located": b"" if name in done else pickle.dumps(source.locate(chunk.tolist()))}
        for name, chunk in chunks.items()
    ]
    work = ray.data.from_items(tasks, override_num_blocks=len(tasks)).map(
        _make_part, fn_kwargs={"source": source, "golden_uri": spec.golden_uri, "settings": spec.suite.preprocess}
    )
    for row in work.iter_rows():
        part = Part.model_validate_json(row["part"])
        if part.name not in done:
            progress.add(part.rows + sum(part.lost.values()), f"{sum(part.lost.values())} rejected in {part.name}")
        yield part


def _make_part(row: dict[str, Any], source: Source, golden_uri: str, settings: Preprocess) -> dict[str, str]:
    if not row["located"]:
        data = storage.read(parts.uri_of_part(golden_uri, row["name"]))
        return {"part": parts.describe(row["name"], data).model_dump_json()}
    kept, rejects = [], []
    for found in source.read(pickle.loads(row["located"])):  # noqa: S301 (our own bytes)
        try:
            kept.append(_golden_row(found, settings))
        except Rejected as error:
            rejects.append({"image_id": found.image_id, "reason": error.reason, "detail": error.detail})
    lost = dict(sorted(Counter(reject["reason"] for reject in rejects).items()))
    table = pa.Table.from_pylist(kept, schema=SCHEMA)
    part = parts.write(golden_uri, row["name"], table, {"lost": lost, "rejects": rejects})
    return {"part": part.model_dump_json()}


def _golden_row(row: Row, settings: Preprocess) -> dict[str, Any]:
    if row.data is None:
        raise Rejected("unreadable-source", row.detail)
    image, repairs = decode(row.data, settings.max_source_pixels, settings.max_aspect)
    golden = resize(image, settings)
    return {
        "image_id": row.image_id,
        "image": encode(golden, settings),
        "width": golden.width,
        "height": golden.height,
        "source_width": image.width,
        "source_height": image.height,
        "label": row.label,
        "references": row.references,
        "repairs": repairs,
    }


def _write_rejects(spec: Spec, made: list[Part]) -> None:
    rejects = [
        reject
        for part in sorted(made, key=lambda part: part.name)
        if part.lost
        for reject in parts.footer(spec.golden_uri, part.name)["rejects"]
    ]
    for reject in rejects[:20]:
        log.info("rejected %(image_id)s: %(reason)s (%(detail)s)", reject)
    parts.write_file(f"{spec.golden_uri}/rejects.parquet", pa.Table.from_pylist(rejects, schema=REJECTS))


def _nothing_left(spec: Spec, made: list[Part]) -> str:
    lost = ", ".join(sorted({reason for part in made for reason in part.lost})) or "there are none"
    return f"dataset {spec.suite.dataset.source}: no usable image ({lost}); check the source and its image column"


if __name__ == "__main__":
    sys.exit(job.run("preprocess", preprocess))
