"""Measures the engine at real size on a GPU (`--geometry tiny` tries the script on a CPU); prints Markdown tables.

    .assay/data/bin/python -m benchmarks.engine_gpu warm sweep separate            # 8 checkpoints x 1,000 images
    .assay/data/bin/python -m benchmarks.engine_gpu ours generate expert plain rendered   # captions/s; the ceiling
    .assay/data/bin/python -m benchmarks.engine_gpu ours expert --size 1024x768 --tokens 128
    .assay/data/bin/python -m benchmarks.engine_gpu ours --replicas 4 --gpus 4     # an engine per GPU
    .assay/data/bin/python -m benchmarks.engine_gpu memory                         # 2,000 images and 20,000

Weights are random, captions have 64 tokens, images have 504x364 pixels (295 prompt tokens) unless told otherwise. Jobs
run as Airflow runs them, on a running Ray cluster. The images are in a golden set, as after `preprocess`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import ray

from benchmarks.command_cost import measure_command
from benchmarks.engine import end_engines, run_job
from benchmarks.geometry import GEOMETRIES, is_tiny, write_checkpoints
from benchmarks.gpu import Watch
from benchmarks.jobs import draw_photographs, read_captions, write_job
from benchmarks.process_costs import ProcessCosts
from ray_jobs.contract.spec import Spec
from ray_jobs.engine.client.eviction import NAMESPACE
from ray_jobs.engine.settings import engine_environment
from ray_jobs.storage import manifests


@dataclass
class Bench:
    work: Path
    options: argparse.Namespace
    environment: dict[str, str]
    models: list[Path]
    took: dict[str, float] = field(default_factory=dict)  # seconds of all checkpoints, by step
    rates: dict[str, float] = field(default_factory=dict)  # captions/s by method

    @property
    def sequences(self) -> int:
        sequences: int = self.options.sequences
        return sequences // 16 if is_tiny(self.options.geometry) else sequences

    @property
    def settings_per_engine(self) -> dict[str, Any]:
        """The settings of each engine. The engines of one GPU together run as many sequences as one engine would."""
        sharing = max(1, self.options.replicas // self.options.gpus)  # engines per GPU
        return {
            "replicas": self.options.replicas, "gpu_memory_utilization": 0.9 / sharing,
            "max_num_seqs": self.sequences // sharing or None, **self.options.engine,
        }  # fmt: skip

    def write_job(self, model: Path, images: int, next_model: Path | None = None, **engine: Any) -> Spec:
        """The spec of a job over this number of golden images."""
        tiny = is_tiny(self.options.geometry)
        shape = {"dtype": "float32", "max_model_len": 1024, "enforce_eager": True} if tiny else {
            "dtype": "bfloat16", "max_model_len": 2048}  # fmt: skip
        shape["max_num_seqs"] = self.sequences or None
        suite = {
            "name": "benchmark",
            "dataset": {"source": "benchmark"},
            "caption": {"prompt": "describe the image " * 12, "max_tokens": 8 if tiny else self.options.tokens},
            "engine": shape | engine,
        }
        width, height = (112, 112) if tiny else map(int, self.options.size.split("x"))
        pictures = draw_photographs(images, (width, height))
        return write_job(self.work / "root", suite, model, f"made {images}", pictures, next_model)


def run_warm(bench: Bench) -> None:
    """Run one job per checkpoint, one after the other. The first starts an engine, the others swap its weights."""
    print("| job | s | until the first caption, s | swap or start, s | captions/s | answered by |", flush=True)
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for number, (model, next_model) in enumerate(zip(bench.models, [*bench.models[1:], None], strict=True)):
        took = _print_job(f"warm, checkpoint {number}", bench, model, next_model)
        bench.took["warm"] = bench.took.get("warm", 0.0) + took


def run_sweep(bench: Bench) -> None:
    """Run the same jobs with a new engine, while the next job already waits behind each, as in the router's sweep."""
    end_engines()
    bench.write_job(bench.models[0], bench.options.images)  # makes the images
    began = ended = time.time()

    def run_number(number: int) -> JobTimes:
        time.sleep(5 * (number == 1))  # so that the first job comes first
        return _run_caption_job(bench, bench.models[number], **bench.settings_per_engine)

    print("\n| sweep | since the one before, s | swap or start, s | captions/s | answered by |", flush=True)
    print("| --- | --- | --- | --- | --- |", flush=True)
    with ThreadPoolExecutor(2) as threads:
        for number, times in enumerate(threads.map(run_number, range(len(bench.models)))):
            cells = f"{times.ended - ended:.1f} | {times.start:.1f} | {times.rate:.1f} | {times.reason}"
            print(f"| checkpoint {number} | {cells} |", flush=True)
            ended = times.ended
    bench.took["sweep"] = ended - began
    print(f"\nall: {ended - began:.1f} s", flush=True)


def run_separate(bench: Bench) -> None:
    """Run the same jobs, each with its own engine. One job runs before them, so that compiled code is cached."""
    end_engines()
    _print_job("(caches)", bench, bench.models[0], kind="ray_data_llm", **bench.options.engine)
    took = [_print_job(f"separate, checkpoint {number}", bench, model, kind="ray_data_llm", **bench.options.engine)
            for number, model in enumerate(bench.models[: bench.options.separate])]  # fmt: skip
    whole = sum(took) / len(took) * len(bench.models)
    print(f"\n{len(bench.models)} separate jobs: {whole:.1f} s ({len(took)} were run)", flush=True)
    for name, seconds in bench.took.items():
        print(f"{name}: {seconds:.1f} s, {whole / seconds:.2f} times as fast", flush=True)


@dataclass
class JobTimes:
    """A job's seconds until its end and until its first caption, the time of its end, and facts of its manifest."""

    took: float
    first: float
    ended: float
    start: float
    rate: float
    reason: str


def _run_caption_job(bench: Bench, model: Path, next_model: Path | None = None, **engine: Any) -> JobTimes:
    spec = bench.write_job(model, bench.options.images, next_model, **engine)
    manifests.clear_stage(spec.captions_uri, uuid.uuid4().hex)  # earlier jobs wrote to the same folder
    began = time.time()
    took, ended = run_job("caption", spec, bench.environment), time.time()
    manifest = manifests.require_manifest(spec.captions_uri, "caption")
    first = min(row["finished"] for row in read_captions(spec, ["finished"])) - began
    if manifest.lost:
        raise RuntimeError(f"{model}: {manifest.lost}")
    start = manifest.seconds.get("swap", manifest.seconds["cold_start"])
    return JobTimes(
        took, first, ended, start, manifest.details["per_second"]["answers"], manifest.details["engine"]["told"]
    )


def _print_job(name: str, bench: Bench, model: Path, next_model: Path | None = None, **engine: Any) -> float:
    times = _run_caption_job(bench, model, next_model, **(engine or bench.settings_per_engine))
    cells = f"{times.took:.1f} | {times.first:.1f} | {times.start:.1f} | {times.rate:.1f} | {times.reason}"
    print(f"| {name} | {cells} |", flush=True)
    return times.took


def _wait_for_engines(count: int) -> None:
    """Return when this number of warm engines is idle."""
    end = time.monotonic() + 200
    while time.monotonic() < end:
        names = [
            actor["name"]
            for actor in ray.util.list_named_actors(all_namespaces=True)
            if actor["namespace"] == NAMESPACE
        ]
        if len(names) >= count:
            for name in names:
                ray.get(ray.get_actor(name, NAMESPACE).release.remote("nobody"), timeout=200)
            return
        time.sleep(1)


def run_assay(bench: Bench) -> None:
    """Run Assay's own job on engines that already run."""
    if not bench.took:
        _print_job("(start)", bench, bench.models[0])
    _wait_for_engines(bench.options.replicas)
    spec = bench.write_job(bench.models[0], bench.options.feed, **bench.settings_per_engine)
    with Watch() as watch, ProcessCosts() as costs:
        run_job("caption", spec, bench.environment)
    manifest = manifests.require_manifest(spec.captions_uri, "caption")
    times = read_captions(spec, ["arrived", "finished", "tokens"])
    ended = sorted(row["finished"] for row in times)
    first, last = ended[len(ended) // 4], ended[3 * len(ended) // 4]
    engines = bench.options.replicas
    _print_row(bench, f"Assay, {engines} engines", [{
        "began": min(row["arrived"] for row in times), "ended": ended[-1], "images": len(ended), "start": 0.0,
        "tokens": sum(row["tokens"] for row in times), "steady": len(ended) / 2 / (last - first),
        "busy": watch.busy(first, last),
    }])  # fmt: skip
    print(f"  seconds {json.dumps(manifest.seconds)}", flush=True)
    if bench.options.costs:
        print(f"\n{costs.format_table()}\n", flush=True)


def measure_memory(bench: Bench) -> None:
    """Measure the peak memory of each process of a job, on the job's own Ray cluster."""
    end_engines()
    print("| images | job, s | driver, MB | largest worker, MB | vLLM's process, MB | all together, MB |", flush=True)
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for images in bench.options.memory:
        spec = bench.write_job(bench.models[0], images, **bench.settings_per_engine)
        cost = measure_command(
            [sys.executable, "-m", "ray_jobs.caption", "--spec", spec.uri], {"RAY_ADDRESS": "local"}, 0.5
        )
        bytes_held = [cost.memory[kind] for kind in ("driver", "Ray worker", "vLLM")] + [cost.together]
        cells = " | ".join(f"{count / 1e6:.0f}" for count in bytes_held)
        print(f"| {images} | {cost.wall:.1f} | {cells} |", flush=True)


def run_vllm(method: str, bench: Bench) -> None:
    """Run vLLM alone with one engine; `rendered` gives inputs that are ready to as many engines as Assay has."""
    end_engines()
    engines = bench.options.replicas if method == "rendered" else 1
    settings = bench.settings_per_engine if method == "rendered" else bench.options.engine
    spec = bench.write_job(bench.models[0], bench.options.feed, **settings)
    has_gpu = bool(ray.cluster_resources().get("GPU"))
    wait = Path(tempfile.mkdtemp(dir=bench.work))
    command = [sys.executable, "-m", "benchmarks.plain_vllm", method, "--spec", spec.uri, "--engines", str(engines)]
    command += ["--gpu"] * has_gpu + ["--wait", str(wait)]
    processes = []
    for number in range(engines):
        with (wait / f"log-{number}").open("w") as log:
            variables = os.environ | engine_environment(spec.suite.engine, has_gpu)
            process = subprocess.Popen(
                [*command, "--number", str(number)], env=variables, stdout=log, stderr=subprocess.STDOUT
            )
            processes.append(process)
        if number + 1 < engines:  # one after the other, because vLLM measures the GPU's memory while it starts
            while processes[-1].poll() is None and not list(wait.glob("rendered*")):
                time.sleep(0.5)
    for process in processes:
        process.wait()
    lines = [line for number in range(engines) for line in (wait / f"log-{number}").read_text().splitlines()]
    results = [json.loads(line) for line in lines if line.startswith('{"way"')]
    if len(results) < engines:
        print("\n".join(lines[-30:]))
        raise RuntimeError(f"{method} failed")
    _print_row(bench, results[0]["way"] + (f", {engines} engines" if engines > 1 else ""), results)


def _print_row(bench: Bench, method: str, results: list[dict[str, Any]]) -> None:
    if not bench.rates:
        print("\n| method | captions/s | middle half | GPU busy, % | start, s |\n" + "| --- " * 5 + "|", flush=True)
    took = max(result["ended"] for result in results) - min(result["began"] for result in results)
    images, steady = sum(result["images"] for result in results), sum(result["steady"] for result in results)
    busy = "" if results[0]["busy"] is None else f"{100 * sum(result['busy'] for result in results) / len(results):.0f}"
    tokens = sum(result["tokens"] for result in results) / images
    start = sum(result["start"] for result in results)
    bench.rates[method] = images / took
    rates = f"{images / took:.1f} | {steady:.1f} | {busy} | {start:.1f}"
    print(f"| {method} ({images} images, {tokens:.1f} tokens) | {rates} |", flush=True)


STEPS: dict[str, Callable[[Bench], None]] = {
    "warm": run_warm, "sweep": run_sweep, "separate": run_separate, "ours": run_assay, "memory": measure_memory,
    **{method: partial(run_vllm, method) for method in ("generate", "expert", "plain", "rendered")},
}  # fmt: skip

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine_gpu")
    parser.add_argument("steps", nargs="*", default=list(STEPS), help=f"of {', '.join(STEPS)}")
    parser.add_argument("--geometry", choices=GEOMETRIES, default="3b")
    parser.add_argument("--checkpoints", type=int, default=8)
    parser.add_argument("--images", type=int, default=1000, help="of each warm and separate job")
    parser.add_argument("--separate", type=int, default=8, help="how many separate jobs are run")
    parser.add_argument("--feed", type=int, default=4096, help="images of the other steps")
    parser.add_argument("--memory", type=int, nargs="+", default=[2000, 20000], help="images of the jobs of `memory`")
    parser.add_argument("--size", default="504x364", help="pixels of an image")
    parser.add_argument("--tokens", type=int, default=64, help="of a caption")
    parser.add_argument("--replicas", type=int, default=1, help="engines, on all GPUs")
    parser.add_argument("--gpus", type=int, default=1, help="over which the engines are spread")
    parser.add_argument("--costs", action="store_true", help="print what `ours` costs each kind of process")
    parser.add_argument("--sequences", type=int, default=512, help="at once on each GPU; 0: Assay chooses")
    parser.add_argument("--engine", type=json.loads, default={}, help="further settings of a suite's engine, as JSON")
    parser.add_argument("--models", type=Path, help="a folder where the checkpoints are, or will be")
    parser.add_argument("--work", default=tempfile.gettempdir())
    arguments = parser.parse_args()
    ray.init("local", include_dashboard=False, logging_level="warning", log_to_driver=False)
    address = os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    with tempfile.TemporaryDirectory(prefix="assay-benchmark-", dir=arguments.work) as folder:
        models = write_checkpoints(
            arguments.models or Path(folder, "models"), arguments.geometry, arguments.checkpoints
        )
        bench = Bench(Path(folder), arguments, address, models)
        for step in arguments.steps:
            STEPS[step](bench)
        for assay, method in product(bench.rates, bench.rates):
            if assay.startswith("Assay") and method != assay:
                ratio = bench.rates[assay] / bench.rates[method]
                print(f"- {assay}: {ratio:.2f} times as fast as {method}", flush=True)
