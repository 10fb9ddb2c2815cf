"""Writes golden sets and captions of a few images, for the tests of scoring."""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from ray_jobs.caption import SCHEMA
from ray_jobs.contract.spec import Spec
from ray_jobs.golden import build_part
from ray_jobs.storage import manifests, parts

Image = dict[str, Any]


def map_locally(rows: list[dict[str, Any]], work: Callable[[dict[str, Any]], dict[str, Any]]) -> list[dict[str, Any]]:
    """Stands for Ray where a test is about what a task does, not how tasks are distributed."""
    return [work(row) for row in rows]


class LocalDataset:
    """Stands for Ray Data where a test is about what a task does, not how tasks are distributed."""

    def __init__(self, rows: list[dict[str, Any]], blocks: int = 1) -> None:
        self.rows = rows

    def map(self, work: Any, fn_kwargs: dict[str, Any]) -> "LocalDataset":
        return LocalDataset([work(row, **fn_kwargs) for row in self.rows])

    def iter_rows(self) -> list[dict[str, Any]]:
        return self.rows


def write_golden(spec: Spec, images: Sequence[Image], rows: int = 4) -> None:
    """Write the golden set of images with an `image_id` and any further columns, and its manifest."""
    parts_written = []
    for number, start in enumerate(range(0, len(images), rows)):
        table = pa.Table.from_pylist(
            [{"references": [], **image} for image in images[start : start + rows]], build_part.SCHEMA
        )
        parts_written.append(parts.write(spec.golden_uri, manifests.name_of_part(number), table, {"lost": {}}))
    manifests.commit(
        spec.golden_uri, manifests.build_manifest("golden", spec.golden_id, parts_written, len(images), {}, {})
    )


def write_captions(spec: Spec, captions: Sequence[dict[str, Any]], rows: int = 4) -> None:
    """Write captions with an `image_id` and a `caption` or `failure`, and their manifest."""
    parts_written = []
    for number, start in enumerate(range(0, len(captions), rows)):
        chunk = [
            caption if caption.get("failure") else {"finish_reason": "stop", "tokens": 5} | caption
            for caption in captions[start : start + rows]
        ]
        failed = sum(1 for caption in chunk if caption.get("failure"))
        footer = {"lost": {"engine-error": failed} if failed else {}}
        parts_written.append(
            parts.write(spec.captions_uri, manifests.name_of_part(number), pa.Table.from_pylist(chunk, SCHEMA), footer)
        )
    manifest = manifests.build_manifest("captions", spec.caption_id, parts_written, len(captions), {}, {})
    manifests.commit(spec.captions_uri, manifest)
