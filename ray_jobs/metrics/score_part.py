"""Score one part: measure its captions, add the judge's and CLIP's values, and write the rows.

The driver of `evaluate` runs this for a small set, else its Ray tasks do. The module imports no engine and no model,
because each worker keeps its imports in memory.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from ray_jobs.contract.spec import Spec
from ray_jobs.fields.columns import list_columns_to_read, values_of
from ray_jobs.fields.truth import TRUTH, truth_of
from ray_jobs.inputs.errors import RetryableError
from ray_jobs.judge.judgements import load_judgements
from ray_jobs.judge.rubric import NO_ANSWER, Judgement
from ray_jobs.metrics import CaptionContext, Metric, custom
from ray_jobs.metrics.builtin.label_hit import list_names
from ray_jobs.metrics.clip.stored_scores import load_clip_scores
from ray_jobs.metrics.registry import build_metrics
from ray_jobs.metrics.text import corpus_counts
from ray_jobs.metrics.text.batch import Batch, CorpusStats
from ray_jobs.storage import manifests, objects, parts

NO_JUDGE = Judgement()
WITH_TRUTH = "fields_with_truth"  # the name of a column


def list_score_metrics(spec: Spec) -> dict[str, Metric]:
    """The metrics that a row of scores has: all except the preference, which compares two captions."""
    return {name: metric for name, metric in build_metrics(spec).items() if name != "preference"}


def score_part(row: dict[str, Any], spec: Spec, caption_id: str) -> dict[str, str]:
    """Score one part, unless its file exists. Returns its entry in the manifest and its counts of languages, as JSON.

    A part with failures of the judge is scored again when the judge has answered since. Raises RetryableError when the
    golden set lacks a captioned image.
    """
    name, uri = row["part"], spec.scores_uri_of(caption_id)
    if objects.exists(part_uri := manifests.uri_of_part(uri, name)):
        data = objects.read(part_uri)
        part = parts.describe(name, data)
        if not (has_judge_failure(part.lost) and has_new_judgements(spec, caption_id, name)):
            return {
                "part": part.model_dump_json(),
                "languages": json.dumps(parts.decode_footer(data).get("languages", {})),
            }
        objects.delete(part_uri)
    truth = [TRUTH] if spec.suite.dataset.truth else []
    golden = parts.read_columns(spec.golden_uri, name, ["image_id", "label", "references", *truth]).to_pylist()
    by_id = {entry["image_id"]: entry for entry in golden}
    wanted = ["image_id", "caption", "tokens", "finish_reason", "failure", *list_columns_to_read(spec.suite.caption)]
    captions = parts.read(spec.captions_uri_of(caption_id), name, wanted).to_pylist()
    if missing := [entry["image_id"] for entry in captions if entry["image_id"] not in by_id]:
        raise RetryableError(f"{spec.captions_uri_of(caption_id)}: {name} has a caption of {missing[0]!r}, which its "
                    "golden "
                      "set lacks; validate with force")  # fmt: skip
    images = [by_id[entry["image_id"]] for entry in captions]
    table, facts = build_scores(spec, caption_id, name, captions, images, corpus_counts.open_tables(spec, caption_id))
    part = parts.write(uri, name, table, facts)
    return {"part": part.model_dump_json(), "languages": json.dumps(facts["languages"])}


def build_scores(
    spec: Spec,
    caption_id: str,
    name: str,
    captions: list[dict[str, Any]],
    images: list[dict[str, Any]],
    corpus: CorpusStats,
) -> tuple[pa.Table, dict[str, Any]]:
    """(the rows of a part, one per caption; the facts for its footer: failures by reason, and languages)."""
    metrics = list_score_metrics(spec)
    captioned = [number for number, row in enumerate(captions) if row["failure"] is None]
    contexts = [_build_context(spec, captions[number], images[number]) for number in captioned]
    ids = [captions[number]["image_id"] for number in captioned]
    values = {metric: np.full(len(captions), np.nan) for metric in metrics}
    for metric, measured in _measure_captions(metrics, contexts, ids, corpus, spec.own_metrics).items():
        values[metric][captioned] = np.array(measured, dtype=float)  # None becomes NaN
    failures: list[str | None] = ["no-caption"] * len(captions)
    rationales: list[str | None] = [None] * len(captions)
    judgements = load_judgements(spec, caption_id, name)
    of_clip = load_clip_scores(spec, caption_id, name) if spec.clip else {}
    for number, image_id in zip(captioned, ids, strict=True):
        judgement = judgements.get(image_id, NO_JUDGE if spec.suite.judge.kind == "none" else NO_ANSWER)
        failures[number], rationales[number] = judgement.failure, judgement.rationale
        for metric, value in {**judgement.values, **of_clip.get(image_id, {})}.items():
            if metric in values and value is not None:
                values[metric][number] = value
    table = pa.table(
        {
            "image_id": pa.array([row["image_id"] for row in captions], pa.string()),
            "label": pa.array([row["label"] for row in images], pa.string()),
            "references": pa.array([bool(row["references"]) for row in images], pa.bool_()),
            "failure": pa.array(failures, pa.string()),
            "rationale": pa.array(rationales, pa.string()),
            **_build_truth_column(spec, images),
        }
        # `from_pandas` stores NaN as null.
        | {metric: pa.array(array, pa.float64(), from_pandas=True) for metric, array in values.items()}
    )
    lost = Counter(failure for failure in failures if failure)
    languages = Counter(row.detected_language or "unknown" for row in contexts)
    return table, {"lost": dict(sorted(lost.items())), "languages": dict(sorted(languages.items()))}


def has_judge_failure(reasons: Iterable[str]) -> bool:
    return any(reason.startswith("judge-") for reason in reasons)


def has_new_judgements(spec: Spec, caption_id: str, name: str) -> bool:
    """True if the judge has a new answer about an image of the part at which it had failed."""
    rows = parts.read_columns(spec.scores_uri_of(caption_id), name, ["image_id", "failure"]).to_pylist()
    judgements = load_judgements(spec, caption_id, name)
    failed = {row["image_id"]: row["failure"] for row in rows if has_judge_failure([row["failure"] or ""])}
    return any(judgements.get(image_id, NO_ANSWER).failure != failure for image_id, failure in failed.items())


def _measure_captions(
    metrics: dict[str, Metric],
    captions: list[CaptionContext],
    ids: list[str],
    corpus: CorpusStats,
    own_names: Collection[str],
) -> dict[str, list[float | None]]:
    batch = Batch(captions, corpus)
    values: dict[str, list[float | None]] = {}
    for name, metric in metrics.items():
        if metric.measure_all:
            values[name] = list(metric.measure_all(batch))
        elif metric.measure and name not in own_names:
            values[name] = [metric.measure(caption) for caption in captions]
        elif metric.measure:
            values[name] = [
                custom.measure_image(metric, caption, image_id) if metric.has_inputs(caption) else None
                for caption, image_id in zip(captions, ids, strict=True)
            ]
    return values


def _build_context(spec: Spec, caption: dict[str, Any], image: dict[str, Any]) -> CaptionContext:
    label = image["label"]
    return CaptionContext(
        text=caption["caption"],
        tokens=caption["tokens"],
        finish_reason=caption["finish_reason"],
        references=tuple(image["references"] or ()),
        label=label,
        names=list_names(label, spec.synonyms.get(label, ())) if label is not None else (),
        language=spec.suite.metrics.language,
        fields=values_of(caption, spec.suite.caption),
        truth=truth_of(spec, image),
    )


def _build_truth_column(spec: Spec, images: list[dict[str, Any]]) -> dict[str, pa.Array]:
    """For a suite with truth, a column that lists the fields whose truth each image has.

    `metrics.run` counts the expected values from this column.
    """
    if not spec.suite.dataset.truth:
        return {}
    return {WITH_TRUTH: pa.array([list(truth_of(spec, image)) for image in images], pa.list_(pa.string()))}
