"""Measures the gate over 1.28 million pairs: seconds and extra memory; prints a Markdown table.

    .assay/data/bin/python -m benchmarks.gate                    # accumulators and tests alone, then all from parts
    .assay/data/bin/python -m benchmarks.gate --images 128000

Each line is measured in a new process. Memory is the peak beyond the memory before the first pair. Imports are not
counted, nor, for `arrays`, the input arrays. For parts, everything that reading takes is counted.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
from blake3 import blake3

from ray_jobs.contract.artifacts import Manifest, Part, Scores, Summary
from ray_jobs.contract.spec import Baseline, Checkpoint, Spec
from ray_jobs.contract.suite import Suite
from ray_jobs.gate import run
from ray_jobs.gate.non_inferiority import compare_metric
from ray_jobs.gate.paired_differences import PairedDifferences
from ray_jobs.metrics.registry import BUILT_IN, build_metrics
from ray_jobs.storage import manifests, objects, parts

PART_ROWS = 512
GATED = ("exact_match", "chrf", "cider_d", "rouge_l")


def time_arrays(images: int, cluster: str) -> tuple[float, float]:
    """Seconds and MB for four metrics, added in chunks of one part."""
    random = np.random.default_rng(1)
    labels = np.arange(images) % 1000 if cluster == "label" else None
    values = {}
    for name in GATED:
        top = BUILT_IN[name].range[1]
        old = random.random(images, dtype=np.float64) * top
        new = np.clip(old + random.normal(-0.02 * top, 0.1 * top, images), 0, top)
        values[name] = (old.round(), new.round()) if BUILT_IN[name].kind == "share" else (old, new)
    before, began = _peak(), time.perf_counter()
    for name, (old, new) in values.items():
        pairs = PairedDifferences(BUILT_IN[name], labels is not None)
        for row in range(0, images, PART_ROWS):
            chunk = slice(row, row + PART_ROWS)
            pairs.add(old[chunk], new[chunk], labels[chunk] if labels is not None else None)
        compare_metric(BUILT_IN[name], pairs, 0.01 * BUILT_IN[name].range[1], 0.0027, family=len(GATED))
    return time.perf_counter() - began, _peak() - before


def time_parts(images: int, cluster: str) -> tuple[float, float]:
    """Seconds and MB for the verdict, read from parts: four metrics gate, and all others are advice."""
    with tempfile.TemporaryDirectory() as root:
        spec, scores = _write_scores(root, images, cluster)
        before, began = _peak(), time.perf_counter()
        run.run_gate(spec, scores)
        return time.perf_counter() - began, _peak() - before


def _write_scores(root: str, images: int, cluster: str) -> tuple[Spec, Scores]:
    """Write the scores of a run and of its baseline: the same part of values under every name."""
    margins = {name: {"margin": 0.01 * BUILT_IN[name].range[1]} for name in GATED}
    gate = {"metrics": margins, "cluster": cluster, "limits": {"empty": {"max": 0.01}}}
    suite = Suite.model_validate({"name": "benchmark", "dataset": {"source": "/images"}, "gate": gate})
    old, new = (Checkpoint(uri=f"/{name}", name=name, fingerprint=name * 8) for name in ("aa", "bb"))
    spec = Spec(root=root, suite=suite, checkpoint=new, source_revision="r1")
    baseline_spec = spec.model_copy(update={"checkpoint": old})
    base = Baseline(
        run_id=baseline_spec.run_id, run_uri=baseline_spec.run_uri, caption_id=baseline_spec.caption_id, checkpoint=old
    )
    spec = spec.model_copy(update={"baseline": base})
    random = np.random.default_rng(1)
    for caption_id, worse in ((baseline_spec.caption_id, 0.0), (spec.caption_id, 0.02)):
        columns = {"image_id": [f"folder/{row:08d}.jpeg" for row in range(PART_ROWS)]}
        table = pa.table(columns | {"label": [f"label-{row % 1000}" for row in range(PART_ROWS)]})
        for name, metric in build_metrics(spec).items():
            top = min(metric.range[1], 100.0)
            values = np.clip(random.random(PART_ROWS) * top - worse * top * metric.direction, 0, top)
            table = table.append_column(name, pa.array(values.round() if metric.kind == "share" else values))
        uri, data = spec.scores_uri_of(caption_id), parts.encode(table, {"lost": {}})
        part_entries = tuple(_part(uri, number, data) for number in range(images // PART_ROWS))
        rows = len(part_entries) * PART_ROWS
        scores_id = spec.scores_id_of(caption_id)
        manifest = Manifest(stage="scores", id=scores_id, rows_in=rows, rows_out=rows, parts=part_entries,
                            created_at=datetime.now(UTC))  # fmt: skip
        manifests.commit(uri, manifest)
    summary = Summary(n=rows, expected=rows, mean=0, standard_error=0, low=0, high=0)
    scores = Scores(run_id=spec.run_id, scoring_id=spec.scoring_id, images=rows, scored=rows, failed={},
                    metrics=dict.fromkeys(build_metrics(spec), summary), manifest=manifest)  # fmt: skip
    return spec, scores


def _part(uri: str, number: int, data: bytes) -> Part:
    name = manifests.name_of_part(number)
    objects.write(manifests.uri_of_part(uri, name), data)
    return Part(name=name, rows=PART_ROWS, blake3=blake3(data).hexdigest())


def _peak() -> float:
    """The peak memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _alone(work: Callable[[int, str], tuple[float, float]], images: int, cluster: str) -> tuple[float, float]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, (images, cluster))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", type=int, default=1_280_000)
    max_images = parser.parse_args().images
    print("| pairs | from | clusters | seconds | extra memory, MB |\n| --- | --- | --- | --- | --- |")
    for work, name in ((time_arrays, "arrays, 4 metrics"), (time_parts, "parts, 4 gating, the rest as advice")):
        for images, cluster in ((max_images // 10, "none"), (max_images, "none"), (max_images, "label")):
            seconds, memory = _alone(work, images, cluster)
            print(f"| {images:,} | {name} | {cluster} | {seconds:.1f} | {memory:.0f} |", flush=True)


if __name__ == "__main__":
    main()
