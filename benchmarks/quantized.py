"""Compares the captions of quantised weights with those of the same weights as they are; prints a Markdown table.

    .assay/data/bin/python -m benchmarks.quantized                                  # fp8 beside bfloat16, on a GPU
    .assay/data/bin/python -m benchmarks.quantized --quantization '' --dtype float32   # tries the script on a CPU

The demo's checkpoints caption the demo's scenes, one after the other by one warm engine per column. `again` is a second
run as they are, because on a GPU the batches of a run change the last bits of a value, and so a few captions.
"""

import argparse
import os
import tempfile
import uuid
from pathlib import Path
from typing import Any

import ray

from benchmarks.engine import DEMO, end_engines, run_job
from benchmarks.jobs import read_captions_by_image, write_job
from ray_jobs.storage import manifests

CHECKPOINTS = ("step-0300", "step-0800")


def caption_all(root: Path, engine: dict[str, Any], names: list[str], images: int) -> list[tuple[dict[str, str], str]]:
    """Each checkpoint's captions by image, and how its weights got into the engine. Ends the engine."""
    environment = os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    scenes = sorted((DEMO / "images" / "scenes").iterdir())[:images]
    suite = {
        "name": "quantized",
        "dataset": {"source": "scenes"},
        "caption": {"prompt": "describe the image", "max_tokens": 32},
        "engine": {"max_model_len": 512, "max_num_seqs": 64} | engine,
    }
    answers = []
    for name in names:
        spec = write_job(root, suite, DEMO / "checkpoints" / name, "scenes", (scene.read_bytes() for scene in scenes))
        manifests.clear_stage(spec.captions_uri, uuid.uuid4().hex)  # `again` writes to the same folder
        run_job("caption", spec, environment)
        manifest = manifests.require_manifest(spec.captions_uri, "caption")
        if manifest.lost:
            raise RuntimeError(f"{name}: {manifest.lost}")
        answers.append((read_captions_by_image(spec), manifest.details["engine"]["told"]))
    end_engines()
    return answers


def count_equal(first: dict[str, str], other: dict[str, str]) -> str:
    """The share of images with equal captions, and the share of equal words at equal places."""
    words = [(a, b) for key in first for a, b in zip(first[key].split(), other[key].split(), strict=False)]
    equal = sum(first[key] == other[key] for key in first)
    return f"{equal} of {len(first)} | {sum(a == b for a, b in words) / max(1, len(words)):.4f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quantized")
    parser.add_argument("--quantization", default="fp8")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--checkpoints", nargs="+", default=CHECKPOINTS)
    parser.add_argument("--eager", action="store_true", help="no CUDA graphs, nothing compiled: starts sooner")
    arguments = parser.parse_args()
    ray.init("local", include_dashboard=False, logging_level="warning", log_to_driver=False)
    plain = {"dtype": arguments.dtype, "enforce_eager": arguments.eager}
    with tempfile.TemporaryDirectory(prefix="assay-benchmark-") as folder:
        root, names, images = Path(folder), arguments.checkpoints, arguments.images
        plain_answers = caption_all(root, plain, names, images)
        again = caption_all(root, plain, names, images)
        quantized = caption_all(root, plain | {"quantization": arguments.quantization or None}, names, images)
    title = arguments.quantization or "again, too"
    print(f"| checkpoint | again, equal | equal words | {title}, equal | equal words | answered by |")
    print("| --- " * 6 + "|")
    for name, first, second, changed in zip(names, plain_answers, again, quantized, strict=True):
        print(f"| {name} | {count_equal(first[0], second[0])} | {count_equal(first[0], changed[0])} | {changed[1]} |")
