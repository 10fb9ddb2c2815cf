"""Writes golden sets and specs of jobs without `preprocess`, and reads the captions of these jobs."""

import io
import json
import multiprocessing
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from benchmarks.pictures import VARIANTS, draw_photograph
from ray_jobs.checkpoints import inspect
from ray_jobs.contract.artifacts import Part
from ray_jobs.contract.parse_suite import parse_suite
from ray_jobs.contract.spec import Spec
from ray_jobs.storage import manifests, objects, parts

PART = 256  # images
PROCESS_COUNT = 1024  # images, from which on processes draw them


def write_job(
    root: Path, suite: dict[str, Any], model: Path, name: str, images: Iterable[bytes], next_model: Path | None = None
) -> Spec:
    """The spec of a job of the suite over these images. Writes the golden set unless one of this name exists."""
    spec = Spec(
        root=str(root), suite=parse_suite(json.dumps(suite), suite["name"]),
        checkpoint=inspect.resolve(str(model)), source_revision=name,
        next_checkpoint=str(next_model) if next_model else None,
    )  # fmt: skip
    if manifests.load_manifest(spec.golden_uri) is None:
        written: list[Part] = []
        remaining_images, count = iter(images), 0
        while batch := list(islice(remaining_images, PART)):
            rows = [{"image_id": f"{count + row:07d}", "image": image} for row, image in enumerate(batch)]
            name_of_part, table = manifests.name_of_part(len(written)), pa.Table.from_pylist(rows)
            written.append(parts.write(spec.golden_uri, name_of_part, table, {"lost": {}}))
            count += len(rows)
        manifests.commit(spec.golden_uri, manifests.build_manifest("golden", spec.golden_id, written, count, {}, {}))
    objects.write(spec.uri, spec.model_dump_json().encode())
    return spec


def draw_photographs(count: int, size: tuple[int, int]) -> Iterator[bytes]:
    """`count` JPEGs that look like photographs. All are different. Many are drawn by a process per core."""
    draw = partial(_draw_photograph, size)
    if count < PROCESS_COUNT:
        yield from map(draw, range(count))
        return
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(draw, range(count), chunksize=32)


def _draw_photograph(size: tuple[int, int], key: int) -> bytes:
    sink = io.BytesIO()
    rolled = np.roll(_draw_variants(size)[key % VARIANTS], divmod(key // VARIANTS, size[0]), (0, 1))
    Image.fromarray(rolled).save(sink, "JPEG", quality=90)
    return sink.getvalue()


@lru_cache(maxsize=1)
def _draw_variants(size: tuple[int, int]) -> list[np.ndarray[Any, Any]]:
    return [np.asarray(draw_photograph(number, *size)) for number in range(VARIANTS)]


def read_captions(spec: Spec, columns: list[str]) -> list[dict[str, Any]]:
    """The rows of the job's captions, with these columns."""
    names = [part.name for part in manifests.require_manifest(spec.captions_uri, "caption").parts]
    return [row for name in names for row in parts.read(spec.captions_uri, name, columns).to_pylist()]


def read_captions_by_image(spec: Spec) -> dict[str, str]:
    """The job's captions by image."""
    return {row["image_id"]: row["caption"] for row in read_captions(spec, ["image_id", "caption"])}
