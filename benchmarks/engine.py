"""Compares the warm engine with the reference engine; prints Markdown tables.

    .assay/data/bin/python -m benchmarks.engine sweep            # four checkpoints x 256 images, a job each
    .assay/data/bin/python -m benchmarks.engine sweep --rounds 3

Jobs run as Airflow runs them: one process each, one after the other, on one running Ray cluster. Times are the wall
seconds of the whole job: starting Python, joining Ray, the engine, the captions and the manifest.
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

from benchmarks.jobs import read_captions_by_image
from ray_jobs.contract.spec import Spec
from ray_jobs.engine.client.eviction import NAMESPACE
from ray_jobs.plan import plan

DEMO = Path(__file__).parent.parent / "demo"
CHECKPOINTS = ("step-0200", "step-0300", "step-0800", "step-0809")
ENGINE = {"dtype": "float32", "max_model_len": 512, "max_num_seqs": 64}
KINDS = ("ray_data_llm", "warm")


def compare_kinds(work: Path, rounds: int) -> None:
    ray.init("local", num_cpus=os.cpu_count(), include_dashboard=False, logging_level="warning", log_to_driver=False)
    environment = os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    for number in range(rounds):
        took: dict[str, list[float]] = {kind: [] for kind in KINDS}
        texts: dict[str, list[dict[str, str]]] = {kind: [] for kind in KINDS}
        for kind in KINDS if number % 2 == 0 else reversed(KINDS):
            for checkpoint in CHECKPOINTS:
                spec = build_spec(work / f"{kind}-{number}", kind, checkpoint)
                run_job("preprocess", spec, environment)
                took[kind].append(run_job("caption", spec, environment))
                texts[kind].append(read_captions_by_image(spec))
            end_engines()
        different = sum(cold != warm for cold, warm in zip(texts["ray_data_llm"], texts["warm"], strict=True))
        print(f"\n| job | {' | '.join(CHECKPOINTS)} | all | images |\n| --- {'| --- ' * (len(CHECKPOINTS) + 2)}|")
        for kind, seconds in took.items():
            cells = " | ".join(f"{job_seconds:.1f}" for job_seconds in [*seconds, sum(seconds)])
            print(f"| {kind}, s | {cells} | {sum(map(len, texts[kind]))} |")
        ratios = [cold / warm for cold, warm in zip(took["ray_data_llm"], took["warm"], strict=True)]
        whole = sum(took["ray_data_llm"]) / sum(took["warm"])
        print(f"| warm is faster by | {' | '.join(f'{ratio:.2f}' for ratio in [*ratios, whole])} | |")
        print(f"\ncheckpoints whose captions differ between the two: {different}", flush=True)


def build_spec(place: Path, kind: str, checkpoint: str) -> Spec:
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


def run_job(stage: str, spec: Spec, environment: dict[str, str]) -> float:
    began = time.perf_counter()
    command = [sys.executable, "-m", f"ray_jobs.{stage}", "--spec", spec.uri]
    process = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if process.returncode:
        raise RuntimeError(process.stdout[-3000:])
    if os.environ.get("ASSAY_BENCHMARK_LOG"):
        print(process.stdout, file=sys.stderr)
    return time.perf_counter() - began


def end_engines() -> None:
    for actor in ray.util.list_named_actors(all_namespaces=True):
        if actor["namespace"] == NAMESPACE:
            ray.kill(ray.get_actor(actor["name"], NAMESPACE))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine")
    parser.add_argument("claim", choices=["sweep"])
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assay-benchmark-") as folder:
        compare_kinds(Path(folder), arguments.rounds)
