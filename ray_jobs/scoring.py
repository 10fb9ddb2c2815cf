"""Scores: a value of every metric for every captioned image, or the reason why there is none.

They belong to captions and a scale (metrics and judge), not to a run: a new metric or judge runs over the kept captions
of the candidate and of what it is compared with alike.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import pyarrow as pa
import ray

from ray_jobs import parts, storage
from ray_jobs.contract import Manifest, Part, Scores, Spec, digest
from ray_jobs.metrics import clip_stage, counting, label_hit, language
from ray_jobs.metrics.part import columns, judged_since, lost_to_judge, score_part
from ray_jobs.metrics.registry import declared
from ray_jobs.metrics.summary import summarise
from ray_jobs.progress import Progress
from ray_jobs.ray_dataset import ray_dataset

OF_CAPTIONS = re.compile("forced-[0-9a-f]{16}")  # a marker of captions; others are of forced requests
BLOCK_PARTS, BLOCKS_A_CPU = 16, 8  # few tasks, for starting one takes longer than a part; enough to end together
READERS = 8
WORD_BINS = (0, 4, 8, 12, 16, 24, 32, 64)  # the least words of each bin of label hits by length
LANGUAGES = 5


def check(spec: Spec) -> None:
    """Raises BadInput for a fault in the settings of the metrics: before anything is asked, paid for or counted."""
    declared(spec)
    language.check(spec.suite.metrics.language)


def score(spec: Spec, caption_id: str) -> Manifest:
    """Make the scores of these captions complete; their manifest.

    Parts with failures of the judge that it has answered since are made again.
    """
    made_of = _forget_other_captions(spec, caption_id)
    uri = spec.scores_uri_of(caption_id)
    if found := parts.manifest(uri):
        if not _judged_since(spec, caption_id, found):
            return found
        storage.delete(f"{uri}/manifest.json")
    captions = parts.require(spec.captions_uri_of(caption_id), "caption")
    if spec.clip:
        clip_stage.measure_parts(spec, caption_id)
    counting.complete(spec, caption_id)
    done = parts.done(uri)
    progress = Progress("scores", captions.rows_in, sum(part.rows for part in captions.parts if part.name in done))
    names = [part.name for part in captions.parts]
    work = ray_dataset([{"part": name} for name in names], _blocks(len(names)))
    made: list[Part] = []
    languages: Counter[str] = Counter()
    for row in work.map(score_part, fn_kwargs={"spec": spec, "caption_id": caption_id}).iter_rows():
        made.append(Part.model_validate_json(row["part"]))
        languages.update(json.loads(row["languages"]))
        if made[-1].name not in done:
            progress.add(made[-1].rows)
    details = {"languages": most_spoken(languages), "captions": made_of}
    scores_id = spec.scores_id_of(caption_id)
    return parts.commit(uri, parts.summed("scores", scores_id, made, captions.rows_in, {}, captions.versions, details))


def most_spoken(captions: Counter[str]) -> dict[str, float]:
    """The share of captions in each of the most frequent languages; `unknown` where there is too little to tell by."""
    top = sorted(captions.items(), key=lambda one: (-one[1], one[0]))[:LANGUAGES]
    return {language: count / captions.total() for language, count in top}


def summed_up(spec: Spec, manifest: Manifest) -> Scores:
    """Every metric over all images, with its error bar and the number of images that should have had a value.

    Where a caption can be too short to have one, that is the images with a value and those without a caption.
    """
    metrics, uri = columns(spec), spec.scores_uri_of(spec.caption_id)
    values = {name: np.empty(manifest.rows_in) for name in metrics}
    expected: Counter[str] = Counter()
    filled = 0
    for table in _tables(uri, [part.name for part in manifest.parts], ["references", "label", *metrics]):
        for name, array in values.items():
            array[filled : filled + table.num_rows] = _numbers(table, name)
        filled += table.num_rows
        expected["nothing"] += table.num_rows
        expected["references"] += sum(table["references"].to_pylist())
        expected["label"] += table.num_rows - table["label"].null_count
        expected["name"] += sum(_has_name(spec, label) for label in table["label"].to_pylist())
    there = {name: int(np.isfinite(array).sum()) for name, array in values.items()}
    wanted = {
        name: there[name] + manifest.lost.get("no-caption", 0) if metric.needs == "text" else expected[metric.needs]
        for name, metric in metrics.items()
    }
    by_words = _label_hit_by_words(values["words"], values["label_hit"])
    return Scores(
        run_id=spec.run_id,
        scale_id=spec.scale_id,
        images=manifest.rows_in,
        scored=manifest.rows_out,
        failed=manifest.lost,
        metrics={name: summarise(metric, values.pop(name), wanted[name]) for name, metric in metrics.items()},
        manifest=manifest,
        details={"languages": manifest.details.get("languages", {}), "label_hit_by_words": by_words},
    )


def _forget_other_captions(spec: Spec, caption_id: str) -> str:
    """Remove scores that were made of other captions than there are now; what names the captions.

    Captions that were made anew keep their id, and on every scale but the one that forced them scores of the old ones
    would stand. What is made is made beside a marker of its captions, so what a kill left is known to be of these.
    """
    uri, captions = spec.scores_uri_of(caption_id), parts.require(spec.captions_uri_of(caption_id), "caption")
    made_of = digest(*((part.name, part.blake3) for part in captions.parts))
    marker = f"{uri}/forced-{made_of}"
    found = parts.manifest(uri)
    if found and found.details.get("captions") == made_of:
        return made_of
    if found:  # committed by a job that had begun before the captions changed
        storage.delete(marker)
    if next(iter(storage.entries(uri)), None) is None:
        storage.write(marker, b"")  # two jobs may begin at once: neither removes what the other makes
    tokens = (entry.key for entry in storage.entries(uri) if entry.key.startswith("forced-"))
    parts.forget(uri, made_of, keep=[key for key in tokens if not OF_CAPTIONS.fullmatch(key)])
    return made_of


def _judged_since(spec: Spec, caption_id: str, scores: Manifest) -> bool:
    failing = [part.name for part in scores.parts if lost_to_judge(part.lost)]
    with ThreadPoolExecutor(READERS) as pool:
        return any(pool.map(lambda name: judged_since(spec, caption_id, name), failing))


def _blocks(count: int) -> int:
    cpus = int(ray.cluster_resources().get("CPU", 1))
    return max(1, -(-count // BLOCK_PARTS), min(count, BLOCKS_A_CPU * cpus))


def _tables(uri: str, names: list[str], wanted: list[str]) -> Iterator[pa.Table]:
    """The parts in order, a few of them read at a time."""
    ordered = iter(sorted(names))
    with ThreadPoolExecutor(READERS) as pool:
        while some := list(islice(ordered, READERS * 4)):
            yield from pool.map(lambda name: parts.columns(uri, name, wanted), some)


def _has_name(spec: Spec, label: str | None) -> bool:
    return label is not None and bool(label_hit.names_of(label, spec.synonyms.get(label, ())))


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    """A column with NaN for what is missing."""
    numbers: np.ndarray = table[name].to_numpy(zero_copy_only=False).astype(float)
    return numbers


def _label_hit_by_words(words: np.ndarray, hits: np.ndarray) -> list[dict[str, float | int | None]]:
    """Label hits by how many words the caption has: `from` to `to` words, how many captions, what share hits."""
    found: list[dict[str, float | int | None]] = []
    for low, high in zip(WORD_BINS, (*WORD_BINS[1:], None), strict=True):
        inside = (words >= low) & (words < (high if high is not None else np.inf)) & ~np.isnan(hits)
        if n := int(inside.sum()):
            found.append({"from": low, "to": high - 1 if high else None, "n": n, "mean": float(hits[inside].mean())})
    return found
