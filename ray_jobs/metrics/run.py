"""Score captions: a value of every metric for every captioned image, or the reason why there is none.

The driver of `evaluate` calls this. It scores the parts of a small set itself; Ray tasks score those of a larger one,
and wherever a team's own metrics run. Scores belong to captions and to a scoring id (metrics
and judge), not to a run. So a new metric or judge scores the stored captions of the candidate and of its baseline.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from ray_jobs.contract.artifacts import Manifest, Part, Scores
from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import RetryableError
from ray_jobs.metrics.builtin import label_hit
from ray_jobs.metrics.clip import stage as clip_stage
from ray_jobs.metrics.registry import build_metrics
from ray_jobs.metrics.score_folders import ScoreFolder, copy_scores, find_score_folder
from ray_jobs.metrics.score_part import WITH_TRUTH, list_score_metrics, score_part
from ray_jobs.metrics.summary import summarise_metric
from ray_jobs.metrics.text import corpus_counts, language_detection
from ray_jobs.runtime.prefetch import prefetch
from ray_jobs.runtime.progress import Progress
from ray_jobs.runtime.ray_dataset import SMALL_ROWS, log_until_first_row, ray_dataset
from ray_jobs.storage import manifests, parts
from ray_jobs.storage.pairing import read_floats

# Few tasks, because a task's start takes longer than a part. But enough tasks that the last ones end together.
BLOCK_PARTS, BLOCKS_PER_CPU = 16, 8
READERS = 8
WORD_BINS = (0, 4, 8, 12, 16, 24, 32, 64)  # the fewest words of each bin of label hits by length
LANGUAGES = 5


def check_settings(spec: Spec) -> None:
    """Raise InputError for a fault in the metrics' settings. Runs before the judge costs money and counting starts."""
    build_metrics(spec)
    language_detection.check_language(spec.suite.metrics.language)


def score_captions(spec: Spec, caption_id: str) -> Manifest:
    """Complete the scores of these captions. Returns their manifest, which names the folder with the scores.

    The driver never changes current scores. It writes scores of other captions, of a forced request, or with new
    judgements to another folder. That folder then becomes the current one.
    """
    captions = manifests.require_manifest(spec.captions_uri_of(caption_id), "caption")
    captions_digest = manifests.digest_parts(captions)
    place = find_score_folder(spec, caption_id, captions_digest)
    if place.manifest:
        return _make_current(spec, caption_id, place, captions_digest)
    stage, spec = spec.scores_stage_of(caption_id), spec.with_folders({caption_id: place.folder})
    uri = spec.scores_uri_of(caption_id)
    if place.earlier_folder is not None:
        copy_scores(f"{stage}/{place.earlier_folder}".rstrip("/"), uri)
    if spec.clip:
        clip_stage.measure_parts(spec, caption_id)
    corpus_counts.complete_tables(spec, caption_id)
    done = manifests.list_part_names(uri)
    progress = Progress("scores", captions.rows_in, sum(part.rows for part in captions.parts if part.name in done))
    scored_parts: list[Part] = []
    languages: Counter[str] = Counter()
    for row in _score_parts(spec, caption_id, captions):
        scored_parts.append(Part.model_validate_json(row["part"]))
        languages.update(json.loads(row["languages"]))
        if scored_parts[-1].name not in done:
            progress.add(scored_parts[-1].rows)
    details = {"languages": compute_language_shares(languages), "captions": captions_digest}
    scores_id = spec.scores_id_of(caption_id)
    manifest = manifests.build_manifest(
        "scores", scores_id, scored_parts, captions.rows_in, {}, captions.versions, details
    )
    return _make_current(spec, caption_id, replace(place, manifest=manifests.commit(uri, manifest)), captions_digest)


def needs_ray(spec: Spec, captions: Manifest) -> bool:
    """Whether `score_captions` needs a Ray cluster for these captions."""
    return captions.rows_in > SMALL_ROWS or bool(spec.own_metrics) or spec.clip is not None


def _score_parts(spec: Spec, caption_id: str, captions: Manifest) -> Iterator[dict[str, Any]]:
    """What `score_part` returns for each part. Only a Ray worker measures with a team's own metrics."""
    tasks = [{"part": part.name} for part in captions.parts]
    settings: dict[str, Any] = {"spec": spec, "caption_id": caption_id}
    if captions.rows_in <= SMALL_ROWS and not spec.own_metrics:
        return prefetch(partial(score_part, **settings), tasks, READERS)
    work = ray_dataset(tasks, _count_blocks(len(tasks))).map(score_part, fn_kwargs=settings)
    return log_until_first_row(iter(work.iter_rows()), "scores")


def _make_current(spec: Spec, caption_id: str, place: ScoreFolder, captions_digest: str) -> Manifest:
    """Make the complete scores of a folder the current scores of these captions. Returns their manifest.

    Raises RetryableError when the captions were replaced meanwhile.
    """
    assert place.manifest
    if not place.folder:
        return place.manifest
    manifest = manifests.with_parts_folder(place.manifest, place.folder)
    uri = spec.captions_uri_of(caption_id)
    if manifests.digest_parts(manifests.require_manifest(uri, "caption")) != captions_digest:
        raise RetryableError(f"captions {uri}: made anew while they were scored; score them again")
    manifests.install_latest(
        spec.scores_stage_of(caption_id), manifest, lambda current: current.details.get("captions") == captions_digest
    )
    return manifest


def compute_language_shares(captions: Counter[str]) -> dict[str, float]:
    """The share of captions in each of the most frequent languages. Captions too short to tell are `unknown`."""
    top = sorted(captions.items(), key=lambda entry: (-entry[1], entry[0]))[:LANGUAGES]
    return {language: count / captions.total() for language, count in top}


def summarise_scores(spec: Spec, manifest: Manifest) -> Scores:
    """Every metric over all images, with its error bar and the number of images that should have a value.

    A metric of text may give a short caption no value. For such a metric, the images that should have a value are the
    images with a value and the images without a caption.
    """
    metrics, uri = list_score_metrics(spec), spec.scores_uri_of(spec.caption_id)
    values = {name: np.empty(manifest.rows_in) for name in metrics}
    expected: Counter[str] = Counter()
    filled = 0
    truths: Counter[str] = Counter()
    truth_metrics = {name: metric for name, metric in metrics.items() if metric.needs == "truth"}
    truth_columns = [WITH_TRUTH] if spec.suite.dataset.truth else []
    for table in _read_tables(
        uri, [part.name for part in manifest.parts], ["references", "label", *truth_columns, *metrics]
    ):
        for name, array in values.items():
            array[filled : filled + table.num_rows] = read_floats(table, name)
        filled += table.num_rows
        expected["nothing"] += table.num_rows
        expected["references"] += sum(table["references"].to_pylist())
        expected["label"] += table.num_rows - table["label"].null_count
        expected["name"] += sum(_has_name(spec, label) for label in table["label"].to_pylist())
        expected["fields"] += table.num_rows
        for fields in table[WITH_TRUTH].to_pylist() if truth_columns else ():
            truths.update(name for name, metric in truth_metrics.items() if metric.has_truth(fields))
    present = {name: int(np.isfinite(array).sum()) for name, array in values.items()}
    expected_images = {
        name: present[name] + manifest.lost.get("no-caption", 0) if metric.needs == "text" else expected[metric.needs]
        for name, metric in metrics.items()
    } | {name: truths[name] for name in truth_metrics}
    by_words = _group_label_hits(values["words"], values["label_hit"])
    return Scores(
        run_id=spec.run_id,
        scoring_id=spec.scoring_id,
        images=manifest.rows_in,
        scored=manifest.rows_out,
        failed=manifest.lost,
        metrics={
            name: summarise_metric(metric, values.pop(name), expected_images[name]) for name, metric in metrics.items()
        },
        manifest=manifest,
        details={"languages": manifest.details.get("languages", {}), "label_hit_by_words": by_words},
    )


def _count_blocks(count: int) -> int:
    import ray

    cpus = int(ray.cluster_resources().get("CPU", 1))
    return max(1, -(-count // BLOCK_PARTS), min(count, BLOCKS_PER_CPU * cpus))


def _read_tables(uri: str, names: list[str], wanted: list[str]) -> Iterator[pa.Table]:
    """The tables of the parts, in order. Reads a few parts ahead."""
    return prefetch(lambda name: parts.read_columns(uri, name, wanted), sorted(names), READERS)


def _has_name(spec: Spec, label: str | None) -> bool:
    return label is not None and bool(label_hit.list_names(label, spec.synonyms.get(label, ())))


def _group_label_hits(words: np.ndarray, hits: np.ndarray) -> list[dict[str, float | int | None]]:
    """Label hits per bin of caption length: `from` and `to` in words, `n` captions, and the share of hits as `mean`."""
    rows: list[dict[str, float | int | None]] = []
    for low, high in zip(WORD_BINS, (*WORD_BINS[1:], None), strict=True):
        inside = (words >= low) & (words < (high if high is not None else np.inf)) & ~np.isnan(hits)
        if n := int(inside.sum()):
            rows.append({"from": low, "to": high - 1 if high else None, "n": n, "mean": float(hits[inside].mean())})
    return rows
