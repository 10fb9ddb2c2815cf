"""Scores: a value of every metric for every captioned image, or the reason why there is none.

They belong to captions and a scale (metrics and judge), not to a run: a new metric or judge runs over the kept captions
of the candidate and of what it is compared with alike.
"""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from ray_jobs import parts, storage
from ray_jobs.contract import METRICS, Manifest, Part, Scores, Spec
from ray_jobs.judging import judgements
from ray_jobs.metrics import Captioned, registry
from ray_jobs.metrics.judge import SILENT, Judgement
from ray_jobs.metrics.summary import summarise

NEEDS_REFERENCES = ("exact_match", "chrf")


def score(spec: Spec, caption_id: str) -> Manifest:
    """Make the scores of these captions complete; their manifest."""
    uri = spec.scores_uri_of(caption_id)
    if found := parts.manifest(uri):
        return found
    captions = parts.require(spec.captions_uri_of(caption_id), "caption")
    names = [part.name for part in captions.parts]
    work = ray.data.from_items([{"part": name} for name in names], override_num_blocks=len(names))
    scored = work.map(score_part, fn_kwargs={"spec": spec, "caption_id": caption_id}).iter_rows()
    made = [Part.model_validate_json(row["part"]) for row in scored]
    return parts.commit(
        uri, parts.summed("scores", spec.scores_id_of(caption_id), made, captions.rows_in, {}, captions.versions)
    )


def load_scores(uri: str, names: list[str]) -> pa.Table:
    """The scores of the parts, one row an image, in the order of the golden set."""
    return pa.concat_tables([parts.read(uri, name) for name in sorted(names)])


def summed_up(spec: Spec, manifest: Manifest) -> Scores:
    """Every metric over all images, with its error bar and the number of images that should have had a value."""
    table = load_scores(spec.scores_uri, [part.name for part in manifest.parts])
    with_references = sum(table["references"].to_pylist())
    metrics = {
        name: summarise(
            np.asarray(table[name].to_numpy(zero_copy_only=False), dtype=float),
            expected=with_references if name in NEEDS_REFERENCES else table.num_rows,
        )
        for name in (*METRICS, *spec.suite.judge.metrics())
    }
    return Scores(
        run_id=spec.run_id,
        scale_id=spec.scale_id,
        images=manifest.rows_in,
        scored=manifest.rows_out,
        failed=manifest.lost,
        metrics=metrics,
        manifest=manifest,
    )


def score_part(row: dict[str, Any], spec: Spec, caption_id: str) -> dict[str, str]:
    """Score one part unless it is there; its line in the manifest."""
    name, uri = row["part"], spec.scores_uri_of(caption_id)
    if storage.exists(parts.uri_of_part(uri, name)):
        return {"part": parts.describe(name, storage.read(parts.uri_of_part(uri, name))).model_dump_json()}
    golden = {one["image_id"]: one for one in parts.read(spec.golden_uri, name, ["image_id", "references"]).to_pylist()}
    judged = judgements(spec, caption_id, name)
    rows = [
        _scored(spec, caption, golden[caption["image_id"]]["references"], judged.get(caption["image_id"], SILENT))
        for caption in parts.read(spec.captions_uri_of(caption_id), name).to_pylist()
    ]
    lost = Counter(one["failure"] for one in rows if one["failure"])
    table = pa.Table.from_pylist(rows, schema=_schema(spec))
    part = parts.write(uri, name, table, {"lost": dict(sorted(lost.items()))})
    return {"part": part.model_dump_json()}


def _scored(spec: Spec, caption: dict[str, Any], references: list[str], judged: Judgement) -> dict[str, Any]:
    """One image's row: its values, or why there are none. A missing score is missing, never 0."""
    row: dict[str, Any] = {"image_id": caption["image_id"], "references": bool(references), "failure": None}
    if caption["failure"] is not None:
        return row | {"failure": "no-caption"}
    seen = Captioned(caption["caption"], caption["tokens"], caption["finish_reason"], tuple(references))
    row |= {name: metric(seen) for name, metric in registry().items()}
    if spec.suite.judge.kind != "none":
        row |= {**judged.values, "rationale": judged.rationale, "failure": judged.failure}
    return row


def _schema(spec: Spec) -> pa.Schema:
    values = {name: pa.float64() for name in (*METRICS, *spec.suite.judge.metrics())}
    fixed = {"image_id": pa.string(), "references": pa.bool_(), "failure": pa.string(), "rationale": pa.string()}
    return pa.schema(fixed | values)
