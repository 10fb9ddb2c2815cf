"""Whether captions depend on the order in which one engine served the checkpoints; prints a Markdown table.

    VLLM_BATCH_INVARIANT=1 .assay/data/bin/python -m benchmarks.orders --dtype bfloat16     # on a GPU
    .assay/data/bin/python -m benchmarks.orders                                             # on a CPU

One warm engine serves the demo's checkpoints in a closed tour in which each comes after each other one. Then plain
vLLM, started anew for each, captions all images again (`ray_jobs.audit`), and the last visit's are held against those.
"""

import argparse
import os
import tempfile
import uuid
from collections import defaultdict
from pathlib import Path

import ray

from benchmarks.engine import DEMO, end_engines, job
from benchmarks.planned import planned, said
from ray_jobs.contract.spec import Spec
from ray_jobs.storage import audits, manifests

CHECKPOINTS = sorted(folder.name for folder in (DEMO / "checkpoints").iterdir())


def tour(count: int) -> list[int]:
    """0 to count - 1 so that each follows each other one exactly once; it ends where it began."""
    return [at for first in range(count) for second in range(first + 1, count) for at in (first, second)] + [0]


def orders(root: Path, images: int, engine: dict[str, object]) -> None:
    scenes = sorted((DEMO / "images" / "scenes").iterdir())[:images]
    caption = {"prompt": "describe the image", "max_tokens": 32}
    suite = {
        "name": "orders",
        "dataset": {"source": "scenes"},
        "caption": caption,
        "engine": engine | {"audit": images},
    }

    def spec_of(name: str) -> Spec:
        return planned(root, suite, DEMO / "checkpoints" / name, "scenes", (one.read_bytes() for one in scenes))

    ray.init("local", include_dashboard=False, logging_level="warning", log_to_driver=False)
    environment = os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    texts, told = defaultdict[str, list[dict[str, str]]](list), list[str]()
    for at in tour(len(CHECKPOINTS)):
        spec = spec_of(CHECKPOINTS[at])
        manifests.clear_stage(spec.captions_uri, uuid.uuid4().hex)  # captions are one thing whoever makes them
        job("caption", spec, environment)
        made = manifests.require_manifest(spec.captions_uri, "caption")
        if made.lost:
            raise RuntimeError(f"{CHECKPOINTS[at]}: {made.lost}")
        texts[CHECKPOINTS[at]].append(said(spec))
        told.append(made.details["engine"]["told"])
    end_engines()
    print(f"{len(told)} jobs: " + "; ".join(f"{told.count(one)} by {one}" for one in sorted(set(told))), flush=True)
    print("| checkpoint | visits | captions | as the last visit | audited | equal | ties | differ | worst gap, nats |")
    print("| --- " * 9 + "|", flush=True)
    for name, visits in texts.items():
        spec = spec_of(name)
        try:
            job("audit", spec, environment)
        except RuntimeError:  # when captions differ, which the table tells
            if audits.read(spec.captions_uri) is None:
                raise
        found = audits.read(spec.captions_uri)
        assert found
        same = sum(one[key] == visits[-1][key] for one in visits for key in visits[-1])
        cells = [len(visits), sum(map(len, visits)), same, found.images, found.equal, found.ties, found.differing]
        print(f"| {name} | {' | '.join(map(str, cells))} | {found.worst_gap} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.orders")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--eager", action="store_true", help="no CUDA graphs, nothing compiled: starts sooner")
    asked = parser.parse_args()
    settings = {"dtype": asked.dtype, "max_model_len": 512, "max_num_seqs": 64, "enforce_eager": asked.eager}
    with tempfile.TemporaryDirectory(prefix="assay-benchmark-") as folder:
        orders(Path(folder), asked.images, settings)
