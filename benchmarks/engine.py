"""The warm engine against the reference; prints Markdown tables.

    .assay/data/bin/python -m benchmarks.engine sweep            # four checkpoints x 256 images, a job each
    .assay/data/bin/python -m benchmarks.engine sweep --rounds 3

Jobs are run as Airflow runs them, one process each, one after the other, on one Ray cluster that stands. Times are wall
seconds of the whole job: starting Python, joining Ray, the engine, captions, the manifest.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ray
import yaml

from benchmarks.planned import said
from ray_jobs.contract.spec import Spec
from ray_jobs.engine.client.eviction import NAMESPACE
from ray_jobs.plan import plan

DEMO = Path(__file__).parent.parent / "demo"
CHECKPOINTS = ("step-0200", "step-0300", "step-0800", "step-0809")
ENGINE = {"dtype": "float32", "max_model_len": 512, "max_num_seqs": 64}
KINDS = ("ray_data_llm", "warm")


def sweep(work: Path, rounds: int) -> None:
    ray.init("local", num_cpus=os.cpu_count(), include_dashboard=False, logging_level="warning", log_to_driver=False)
    environment = os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    for number in range(rounds):
        took: dict[str, list[float]] = {kind: [] for kind in KINDS}
        texts: dict[str, list[dict[str, str]]] = {kind: [] for kind in KINDS}
        for kind in KINDS if number % 2 == 0 else reversed(KINDS):
            for checkpoint in CHECKPOINTS:
                spec = _spec(work / f"{kind}-{number}", kind, checkpoint)
                job("preprocess", spec, environment)
                took[kind].append(job("caption", spec, environment))
                texts[kind].append(said(spec))
            end_engines()
        different = sum(one != texts["warm"][at] for at, one in enumerate(texts["ray_data_llm"]))
        print(f"\n| job | {' | '.join(CHECKPOINTS)} | all | images |\n| --- {'| --- ' * (len(CHECKPOINTS) + 2)}|")
        for kind, seconds in took.items():
            cells = " | ".join(f"{one:.1f}" for one in [*seconds, sum(seconds)])
            print(f"| {kind}, s | {cells} | {sum(map(len, texts[kind]))} |")
        ratios = [one / other for one, other in zip(took["ray_data_llm"], took["warm"], strict=True)]
        whole = sum(took["ray_data_llm"]) / sum(took["warm"])
        print(f"| warm is faster by | {' | '.join(f'{ratio:.2f}' for ratio in [*ratios, whole])} | |")
        print(f"\ncheckpoints whose captions differ between the two: {different}", flush=True)


def _spec(place: Path, kind: str, checkpoint: str) -> Spec:
    place.mkdir(exist_ok=True)
    suite = {
        "name": "benchmark",
        "dataset": {"source": str(DEMO / "images"), "limit": 271},  # of which 256 or so are kept
        "preprocess": {"max_pixels": 12544, "format": "png", "part_rows": 64},
        "caption": {"prompt": "describe the image", "max_tokens": 32},
        "engine": ENGINE | {"kind": kind},
    }
    (place / "suite.yaml").write_text(yaml.safe_dump(suite))
    return plan(str(place / "root"), str(place / "suite.yaml"), str(DEMO / "checkpoints" / checkpoint), by_hand=True)


def job(stage: str, spec: Spec, environment: dict[str, str]) -> float:
    began = time.perf_counter()
    command = [sys.executable, "-m", f"ray_jobs.{stage}", "--spec", spec.uri]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError(done.stdout[-3000:])
    if os.environ.get("ASSAY_BENCHMARK_LOG"):
        print(done.stdout, file=sys.stderr)
    return time.perf_counter() - began


def end_engines() -> None:
    for one in ray.util.list_named_actors(all_namespaces=True):
        if one["namespace"] == NAMESPACE:
            ray.kill(ray.get_actor(one["name"], NAMESPACE))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine")
    parser.add_argument("claim", choices=["sweep"])
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assay-benchmark-") as folder:
        sweep(Path(folder), asked.rounds)
