"""Scores: a value of every metric for every captioned image, or the reason why there is none.

They belong to captions and a scale (metrics and judge), not to a run: a new metric or judge runs over the kept captions
of the candidate and of what it is compared with alike.
"""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import pyarrow as pa
import ray

from ray_jobs import parts
from ray_jobs.contract import Manifest, Part, Scores, Spec
from ray_jobs.metrics import clip_stage, counting, language
from ray_jobs.metrics.part import columns, score_part
from ray_jobs.metrics.registry import declared
from ray_jobs.metrics.summary import summarise
from ray_jobs.progress import Progress

BLOCK_PARTS, BLOCKS_A_CPU = 16, 8  # few tasks, for starting one takes longer than a part; enough to end together
READERS = 8
WORD_BINS = (0, 4, 8, 12, 16, 24, 32, 64)  # the least words of each bin of label hits by length
LANGUAGES = 5


def score(spec: Spec, caption_id: str) -> Manifest:
    """Make the scores of these captions complete; their manifest."""
    uri = spec.scores_uri_of(caption_id)
    if found := parts.manifest(uri):
        return found
    declared(spec)  # a fault in the settings is told before anything is counted
    language.check(spec.suite.metrics.language)
    captions = parts.require(spec.captions_uri_of(caption_id), "caption")
    if spec.clip:
        clip_stage.measure_parts(spec, caption_id)
    counting.complete(spec, caption_id)
    done = parts.done(uri)
    progress = Progress("scores", captions.rows_in, sum(part.rows for part in captions.parts if part.name in done))
    names = [part.name for part in captions.parts]
    work = ray.data.from_items([{"part": name} for name in names], override_num_blocks=_blocks(len(names)))
    made: list[Part] = []
    languages: Counter[str] = Counter()
    for row in work.map(score_part, fn_kwargs={"spec": spec, "caption_id": caption_id}).iter_rows():
        made.append(Part.model_validate_json(row["part"]))
        languages.update(json.loads(row["languages"]))
        if made[-1].name not in done:
            progress.add(made[-1].rows)
    details = {"languages": most_spoken(languages)}
    scores_id = spec.scores_id_of(caption_id)
    return parts.commit(uri, parts.summed("scores", scores_id, made, captions.rows_in, {}, captions.versions, details))


def most_spoken(captions: Counter[str]) -> dict[str, float]:
    """The share of captions in each of the most frequent languages; `unknown` where there is too little to tell by."""
    top = sorted(captions.items(), key=lambda one: (-one[1], one[0]))[:LANGUAGES]
    return {language: count / captions.total() for language, count in top}


def load_scores(uri: str, names: list[str]) -> pa.Table:
    """The scores of the parts, one row an image, in the order of the golden set."""
    return pa.concat_tables([parts.read(uri, name) for name in sorted(names)])


def summed_up(spec: Spec, manifest: Manifest) -> Scores:
    """Every metric over all images, with its error bar and the number of images that should have had a value."""
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
    by_words = _label_hit_by_words(values["words"], values["label_hit"])
    return Scores(
        run_id=spec.run_id,
        scale_id=spec.scale_id,
        images=manifest.rows_in,
        scored=manifest.rows_out,
        failed=manifest.lost,
        metrics={name: summarise(metric, values.pop(name), expected[metric.needs]) for name, metric in metrics.items()},
        manifest=manifest,
        details={"languages": manifest.details.get("languages", {}), "label_hit_by_words": by_words},
    )


def _blocks(count: int) -> int:
    cpus = int(ray.cluster_resources().get("CPU", 1))
    return max(1, -(-count // BLOCK_PARTS), min(count, BLOCKS_A_CPU * cpus))


def _tables(uri: str, names: list[str], wanted: list[str]) -> Iterator[pa.Table]:
    """The parts in order, a few of them read at a time."""
    ordered = iter(sorted(names))
    with ThreadPoolExecutor(READERS) as pool:
        while some := list(islice(ordered, READERS * 4)):
            yield from pool.map(lambda name: parts.columns(uri, name, wanted), some)


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
