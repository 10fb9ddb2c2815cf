"""Writes runs with captions and scores as the stages do, for the tests of what follows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from samples import draw_picture, encode_image

from ray_jobs.caption import SCHEMA as CAPTIONS
from ray_jobs.contract.artifacts import Manifest, Scores, Summary
from ray_jobs.contract.spec import Spec
from ray_jobs.golden.build_part import SCHEMA as GOLDEN
from ray_jobs.metrics.registry import build_metrics
from ray_jobs.metrics.summary import summarise_metric
from ray_jobs.storage import manifests, objects, parts


@dataclass(frozen=True)
class Image:
    """One image of a golden set. `data` is a generated picture unless given."""

    image_id: str
    references: Sequence[str] = ()
    label: str | None = None
    data: bytes | None = None


@dataclass(frozen=True)
class CaptionResult:
    """The result for one image: a caption or the reason why there is none, and its metric values."""

    caption: str | None = "a caption"
    values: Mapping[str, float | None] = field(default_factory=dict)
    rationale: str | None = None
    failure: str | None = None
    detail: str | None = None


def write_golden(spec: Spec, images: Sequence[Image], rejected: Mapping[str, int] | None = None, rows: int = 4) -> None:
    """Write the golden set of the spec, in parts of so many rows."""
    parts_written = []
    lost = dict(rejected or {})
    for number, start in enumerate(range(0, len(images), rows)):
        empty = dict.fromkeys(GOLDEN.names)
        pictures = [encode_image(draw_picture(start + place), "JPEG") for place in range(rows)]
        table = [
            empty | {"image_id": image.image_id, "image": pictures[place] if image.data is None else image.data,
                     "references": list(image.references), "label": image.label, "repairs": []}
            for place, image in enumerate(images[start : start + rows])
        ]  # fmt: skip
        footer = {"lost": lost if number == 0 else {}}
        name = manifests.name_of_part(number)
        parts_written.append(parts.write(spec.golden_uri, name, pa.Table.from_pylist(table, schema=GOLDEN), footer))
    rows_read = len(images) + sum(lost.values())
    seconds, versions = {"decode": 1.25}, {"pillow": "12.0"}
    manifests.commit(
        spec.golden_uri, manifests.build_manifest("golden", spec.golden_id, parts_written, rows_read, seconds, versions)
    )


def write_run(
    spec: Spec, caption_id: str, images: Sequence[Image], results: Sequence[CaptionResult], rows: int = 4
) -> Manifest:
    """Write captions and scores of all images. Returns the manifest of the scores."""
    names = sorted({metric for result in results for metric in result.values})
    schema = pa.schema(
        {
            "image_id": pa.string(),
            "label": pa.string(),
            "references": pa.bool_(),
            "failure": pa.string(),
            "rationale": pa.string(),
        }
        | {name: pa.float64() for name in names}
    )
    caption_parts, score_parts = [], []
    for number, start in enumerate(range(0, len(images), rows)):
        name, pairs = manifests.name_of_part(number), list(zip(images, results, strict=True))[start : start + rows]
        caption_rows = [
            {"image_id": image.image_id, "caption": result.caption, "finish_reason": "stop", "tokens": 5,
             "failure": None if result.caption is not None else result.failure, "detail": result.detail}
            for image, result in pairs
        ]  # fmt: skip
        score_rows = [
            {"image_id": image.image_id, "label": image.label, "references": bool(image.references),
             "rationale": result.rationale, "failure": "no-caption" if result.caption is None else result.failure,
             **result.values}
            for image, result in pairs
        ]  # fmt: skip
        caption_parts.append(_part(spec.captions_uri_of(caption_id), name, caption_rows, CAPTIONS))
        score_parts.append(_part(spec.scores_uri_of(caption_id), name, score_rows, schema))
    versions = {"vllm": "0.29.0", "ray": "2.60.0"}
    seconds = {"start": 31.0, "steady": 412.5}
    captions = manifests.build_manifest("captions", caption_id, caption_parts, len(images), seconds, versions)
    manifests.commit(spec.captions_uri_of(caption_id), captions)
    scores_id = spec.scores_id_of(caption_id)
    scores = manifests.build_manifest("scores", scores_id, score_parts, len(images), {}, versions)
    return manifests.commit(spec.scores_uri_of(caption_id), scores)


def write_scores(spec: Spec, manifest: Manifest, results: Sequence[CaptionResult], **details: Any) -> Scores:
    """Write `scores.json` over these results, and the spec beside it. Returns the scores."""
    names = list(dict.fromkeys(metric for result in results for metric in result.values))
    metrics: dict[str, Summary] = {}
    known = build_metrics(spec)
    for name in names:
        values = np.array([result.values.get(name) for result in results], dtype=float)
        metrics[name] = summarise_metric(known[name], values, len(values))
    scores = Scores(
        run_id=spec.run_id,
        scoring_id=spec.scoring_id,
        images=manifest.rows_in,
        scored=manifest.rows_out,
        failed=manifest.lost,
        metrics=metrics,
        manifest=manifest.model_copy(update={"seconds": {"score": 3.5}}),
        details=details,
    )
    objects.write(f"{spec.run_uri}/scores.json", scores.model_dump_json().encode())
    objects.write(spec.uri, spec.model_dump_json().encode())
    return scores


def _part(uri: str, name: str, rows: list[dict[str, Any]], schema: pa.Schema) -> Any:
    lost: dict[str, int] = {}
    for row in rows:
        if row["failure"]:
            lost[row["failure"]] = lost.get(row["failure"], 0) + 1
    return parts.write(uri, name, pa.Table.from_pylist(rows, schema=schema), {"lost": lost})
