"""Checks whether captions depend on the order in which one engine served the checkpoints; prints a Markdown table.

    VLLM_BATCH_INVARIANT=1 .assay/data/bin/python -m benchmarks.orders --dtype bfloat16     # on a GPU
    .assay/data/bin/python -m benchmarks.orders                                             # on a CPU

One warm engine serves the demo's checkpoints in a closed tour, in which each checkpoint follows each other one. Then
`ray_jobs.audit` starts plain vLLM for each checkpoint, captions all images again, and compares the last captions.
"""

import argparse
import os
import tempfile
import uuid
from collections import defaultdict
from pathlib import Path

import ray

from benchmarks.engine import DEMO, end_engines, run_job
from benchmarks.jobs import read_captions_by_image, write_job
from ray_jobs.contract.spec import Spec
from ray_jobs.storage import audits, manifests

CHECKPOINTS = sorted(folder.name for folder in (DEMO / "checkpoints").iterdir())


def list_tour(count: int) -> list[int]:
    """The numbers 0 to count - 1 in an order in which each follows each other exactly once. The last is the first."""
    return [number for first in range(count) for second in range(first + 1, count) for number in (first, second)] + [0]


def compare_orders(root: Path, images: int, engine: dict[str, object]) -> None:
    scenes = sorted((DEMO / "images" / "scenes").iterdir())[:images]
    caption = {"prompt": "describe the image", "max_tokens": 32}
    suite = {
        "name": "orders",
        "dataset": {"source": "scenes"},
        "caption": caption,
        "engine": engine | {"audit": images},
    }

    def spec_of(name: str) -> Spec:
        return write_job(root, suite, DEMO / "checkpoints" / name, "scenes", (scene.read_bytes() for scene in scenes))

    ray.init("local", include_dashboard=False, logging_level="warning", log_to_driver=False)
    environment = os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    texts, answered_by = defaultdict[str, list[dict[str, str]]](list), list[str]()
    for number in list_tour(len(CHECKPOINTS)):
        spec = spec_of(CHECKPOINTS[number])
        # Each visit of a checkpoint writes to the same folder.
        manifests.clear_stage(spec.captions_uri, uuid.uuid4().hex)
        run_job("caption", spec, environment)
        manifest = manifests.require_manifest(spec.captions_uri, "caption")
        if manifest.lost:
            raise RuntimeError(f"{CHECKPOINTS[number]}: {manifest.lost}")
        texts[CHECKPOINTS[number]].append(read_captions_by_image(spec))
        answered_by.append(manifest.details["engine"]["told"])
    end_engines()
    print(
        f"{len(answered_by)} jobs: "
        + "; ".join(f"{answered_by.count(name)} by {name}" for name in sorted(set(answered_by))),
        flush=True,
    )
    print("| checkpoint | visits | captions | as the last visit | audited | equal | ties | differ | worst gap, nats |")
    print("| --- " * 9 + "|", flush=True)
    for name, visits in texts.items():
        spec = spec_of(name)
        try:
            run_job("audit", spec, environment)
        except RuntimeError:  # captions differ, which the table shows
            if audits.read(spec.captions_uri) is None:
                raise
        audit = audits.read(spec.captions_uri)
        assert audit
        same = sum(visit[key] == visits[-1][key] for visit in visits for key in visits[-1])
        cells = [len(visits), sum(map(len, visits)), same, audit.images, audit.equal, audit.ties, audit.differing]
        print(f"| {name} | {' | '.join(map(str, cells))} | {audit.worst_gap} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.orders")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--eager", action="store_true", help="no CUDA graphs, nothing compiled: starts sooner")
    arguments = parser.parse_args()
    settings = {"dtype": arguments.dtype, "max_model_len": 512, "max_num_seqs": 64, "enforce_eager": arguments.eager}
    with tempfile.TemporaryDirectory(prefix="assay-benchmark-") as folder:
        compare_orders(Path(folder), arguments.images, settings)
