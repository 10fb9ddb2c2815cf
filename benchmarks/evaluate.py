"""Measures time and memory of evaluating captions with five references each, by their number; prints a table.

    .assay/data/bin/python -m benchmarks.evaluate                 # 100,000, 400,000 and 1,280,000 images, two cores
    .assay/data/bin/python -m benchmarks.evaluate --factor 0.02   # a short run

The captions and references are drawn word by word, by Zipf's law from 30,000 words. There is no judge. The time covers
everything from the captions to the verdict, also the golden set's document frequencies, which later checkpoints reuse.
The time is linear if 1000 images more take as long between the last two sizes as between the first two.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from benchmarks.command_cost import Cost, measure_command
from ray_jobs import caption
from ray_jobs.contract.artifacts import Manifest, Part
from ray_jobs.contract.spec import Spec
from ray_jobs.golden import build_part
from ray_jobs.plan import plan
from ray_jobs.storage import manifests, parts

ROOT = Path(__file__).parent.parent
CHECKPOINT = ROOT / "demo" / "checkpoints" / "step-0800"
SIZES = (100_000, 400_000, 1_280_000)
PART_ROWS, WORDS, LABELS, REFERENCES = 256, 30_000, 1000, 5
LENGTHS = (8, 14)  # words of a caption or reference
CORES = 2


def draw_vocabulary() -> pa.Array:
    """Distinct words of three to eleven letters, the same in every run."""
    random = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwygpbvk"))
    words: dict[str, None] = {}
    while len(words) < WORDS:
        words["".join(random.choice(letters, random.integers(3, 12)))] = None
    return pa.array(words)


def draw_sentences(count: int, words: pa.Array, random: np.random.Generator) -> pa.Array:
    """Texts of words by Zipf's law: the r-th most frequent word has a share in proportion to 1/r."""
    lengths = random.integers(LENGTHS[0], LENGTHS[1] + 1, count)
    rank = np.exp(random.random(lengths.sum()) * np.log(WORDS)).astype(np.int64) - 1
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pc.binary_join(pa.ListArray.from_arrays(offsets, words.take(pa.array(rank))), " ")


def write_captions(work: Path, images: int) -> Spec:
    """Write a golden set and its captions. Returns the spec of their run."""
    suite = {"name": "benchmark", "dataset": {"source": "/synthetic", "revision": str(images)}}
    (work / "suite.yaml").write_text(yaml.safe_dump(suite))
    spec = plan(str(work / "root"), str(work / "suite.yaml"), str(CHECKPOINT), by_hand=True)
    words = draw_vocabulary()
    golden: list[Part] = []
    captions: list[Part] = []
    for name, rows, random in _parts(images):
        ids = pa.array([f"{name}/{row}" for row in range(rows)])
        references = pa.ListArray.from_arrays(
            np.arange(0, rows * REFERENCES + 1, REFERENCES, dtype=np.int32),
            draw_sentences(rows * REFERENCES, words, random),
        )
        label = words.take(pa.array(random.integers(0, LABELS, rows)))
        image = pa.array([b"no image is looked at"] * rows)
        golden.append(_write(spec.golden_uri, name, build_part.SCHEMA, rows, image_id=ids, image=image, label=label,
                             references=references))  # fmt: skip
        captions.append(_write(spec.captions_uri, name, caption.SCHEMA, rows, image_id=ids,
                               caption=draw_sentences(rows, words, random), finish_reason=pa.array(["stop"] * rows),
                               tokens=pa.array(random.integers(10, 20, rows))))  # fmt: skip
    _commit(spec.golden_uri, manifests.build_manifest("golden", spec.golden_id, golden, images, {}, {}))
    _commit(spec.captions_uri, manifests.build_manifest("captions", spec.caption_id, captions, images, {}, {}))
    return spec


def _parts(images: int) -> Iterator[tuple[str, int, np.random.Generator]]:
    for index in range(-(-images // PART_ROWS)):
        rows = min(PART_ROWS, images - index * PART_ROWS)
        yield manifests.name_of_part(index), rows, np.random.default_rng(index)


def _write(uri: str, name: str, schema: pa.Schema, rows: int, **columns: pa.Array) -> Part:
    filled = [columns[field.name].cast(field.type) if field.name in columns else pa.nulls(rows, field.type)
              for field in schema]  # fmt: skip
    data = parts.encode(pa.table(filled, schema=schema), {"lost": {}})
    file = Path(manifests.uri_of_part(uri, name))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return parts.describe(name, data)


def _commit(uri: str, manifest: Manifest) -> None:
    Path(f"{uri}/manifest.json").write_text(manifest.model_dump_json())


def measure_evaluation(images: int, work: Path) -> Cost:
    with tempfile.TemporaryDirectory(dir=work) as folder:
        print(f"{datetime.now(UTC):%H:%M:%S} making {images} images", file=sys.stderr, flush=True)
        spec = write_captions(Path(folder), images)
        print(f"{datetime.now(UTC):%H:%M:%S} evaluating them", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "ray_jobs.evaluate", "--spec", spec.uri]
        return measure_command(command, {"RAY_ADDRESS": "local", "RAY_USAGE_STATS_ENABLED": "0"})


def main(work: Path, factor: float) -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    sizes = [int(size * factor) for size in SIZES]
    costs = [measure_evaluation(size, work) for size in sizes]
    kinds = [kind for kind in sorted(costs[-1].memory) if kind]
    columns = ["images", "wall minutes", "CPU minutes", "s for 1000 more", "all processes, GB"]
    print(f"| {' | '.join([*columns, *(f'{kind}, MB' for kind in kinds)])} |")
    print("| --- " * (len(columns) + len(kinds)) + "|")
    seconds_per_1000: list[float] = []
    for number, (size, cost) in enumerate(zip(sizes, costs, strict=True)):
        if number:
            seconds_per_1000.append((cost.wall - costs[number - 1].wall) / (size - sizes[number - 1]) * 1000)
        memory_cells = " | ".join(f"{cost.memory[kind] / 1e6:.0f}" for kind in kinds)
        increase = f"{seconds_per_1000[-1]:.3f}" if number else ""
        minutes = f"{cost.wall / 60:.2f} | {cost.cpu / 60:.2f}"
        print(f"| {size} | {minutes} | {increase} | {cost.together / 1e9:.2f} | {memory_cells} |", flush=True)
    ratio = seconds_per_1000[1] / seconds_per_1000[0]
    print(f"\n1000 images more take {ratio:.2f} times as long at the largest size as at the smallest.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluate")
    parser.add_argument("--factor", type=float, default=1.0, help="of the number of images")
    parser.add_argument("--work", default=os.environ.get("TMPDIR", "/tmp"), help="a folder with some free GB")  # noqa: S108
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assay-benchmark-", dir=arguments.work) as folder:
        main(Path(folder), arguments.factor)
