"""Measures an engine's start by phase, with and without caches, beside `vllm bench startup`; prints a Markdown table.

    .assay/data/bin/python -m benchmarks.start                    # the demo's tiny model on a CPU
    .assay/data/bin/python -m benchmarks.start --geometry 3b      # on a GPU; 15 minutes, weights are random
    .assay/data/bin/python -m benchmarks.start --rows vllm        # some rows only: those named in `ROWS`, and `vllm`

Where a command may take ten minutes at most, run these one after the other, with `--models FOLDER` for the weights:
`--rows empty same next "first fork" fork`, `--rows upload fetch`, and `--rows vllm`.

Each row starts the actor as a job's driver does, on a Ray cluster of its own, and ends when the first row is answered.
The phases are those that the actor tells (`start_seconds`) and those in vLLM's log. `vllm bench startup` leaves out the
imports and the first answer.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from benchmarks.geometry import GEOMETRIES, is_tiny, write_checkpoints
from benchmarks.jobs import draw_photographs
from ray_jobs.checkpoints.inspect import resolve
from ray_jobs.contract.sections.engine import Engine
from ray_jobs.engine.protocol import Task, build_request
from ray_jobs.engine.server.actor import WarmEngine
from ray_jobs.engine.settings import engine_environment, vllm_arguments
from ray_jobs.fork_server.ray_worker import build_runtime_env

# vLLM's lines, each after the time in seconds since the epoch, with the seconds that vLLM tells in it
LINES = {
    "begun": r"(\d+\.\d+) Initializing a V1 LLM engine",
    "loading": r"\d+\.\d+ Loading weights took (\d+\.\d+)",
    "loaded": r"(\d+\.\d+) (?:Model loading took|Loading weights took)",
    "profiled": r"(\d+\.\d+) GPU KV cache size",
    "compiled": r"\d+\.\d+ torch\.compile (?:and .*together )?took (\d+\.\d+) s in total",
    "graphs": r"\d+\.\d+ Graph capturing finished in (\d+(?:\.\d+)?)",
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"time": {"format": "%(created).3f %(message)s"}},
    "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "time", "stream": "ext://sys.stdout"}},
    "loggers": {"vllm": {"handlers": ["out"], "level": "INFO", "propagate": False}},
}
COLUMNS = (
    "Ray's process", "imports", "files", "config", "vLLM's process", "weights", "compile, profile", "of it compile",
    "graphs", "rest", "renderers", "first answer",
)  # fmt: skip


@dataclass
class Bench:
    work: Path
    models: list[Path]
    engine: Engine
    size: tuple[int, int]
    has_gpu: bool

    def measure_start(
        self, model: Path, caches: Path, shared: Path | None = None, forked: bool = False
    ) -> dict[str, float]:
        """The seconds of each column, and the whole. `caches` is all that the node keeps between starts."""
        (self.work / "logging.json").write_text(json.dumps(LOGGING))
        variables = engine_environment(self.engine, self.has_gpu) | {
            "VLLM_LOGGING_LEVEL": "INFO", "VLLM_LOGGING_CONFIG_PATH": str(self.work / "logging.json"),
            "ASSAY_CACHE": str(caches / "assay"), "XDG_CACHE_HOME": str(caches / "xdg"),
        }  # fmt: skip
        caches.mkdir(mode=0o700, exist_ok=True)
        variables |= {"ASSAY_COMPILE_CACHE": str(shared)} if shared else {}
        variables |= {"TRITON_CACHE_DIR": str(caches / "triton"), "TORCHINDUCTOR_CACHE_DIR": str(caches / "inductor")}
        variables["ASSAY_FORK_SERVER"] = os.environ["ASSAY_FORK_SERVER"] = "on" if forked else "off"
        checkpoint, token = resolve(str(model)), uuid.uuid4().hex
        logs = Path(ray._private.worker._global_node.get_session_dir_path()) / "logs"
        before = {path: path.stat().st_size for path in logs.glob("worker-*")}
        began = time.time()
        actor = ray.remote(WarmEngine).options(
            num_cpus=0, num_gpus=self.engine.gpus if self.has_gpu else 0, max_concurrency=64,
            runtime_env=build_runtime_env(variables),
        ).remote(checkpoint, self.engine, self.has_gpu, token)  # fmt: skip
        ray.get(actor.__ray_ready__.remote())
        started = time.time()
        phases = ray.get(actor.start_seconds.remote())
        assert ray.get(actor.acquire.remote(token, 5.0))
        load = actor.load_checkpoint.remote(token, checkpoint)
        task: Task = {"part": "benchmark", "rows": [0]}
        requests = ray.put(_requests_for(next(iter(draw_photographs(1, self.size)))))
        (answer,) = ray.get(actor.answer_task.remote(token, checkpoint.fingerprint, requests, task))
        if answer["failure"]:
            raise RuntimeError(answer["detail"])
        ray.get(load)
        answered = time.time()
        if shared and self.has_gpu:
            _wait_for_upload(shared)
        log = "".join(_read_from(path, before.get(path, 0)) for path in sorted(logs.glob("worker-*")))
        for line in re.findall(r"engine: compile cache .*", log):
            print(line, file=sys.stderr, flush=True)
        ray.kill(actor)
        time.sleep(5)  # until the GPU's memory is free again
        return self._split(log, phases, began, started, answered)

    def _split(
        self, log: str, phases: dict[str, float], began: float, started: float, answered: float
    ) -> dict[str, float]:
        def last(name: str) -> float:
            return float((re.findall(LINES[name], log) or ["nan"])[-1])

        vllm_began = phases["began"] + sum(phases[name] for name in ("imports", "files", "config"))
        weights, graphs = last("loading"), (last("graphs") if "Graph capturing" in log else 0.0)
        seconds = {
            "Ray's process": phases["began"] - began,
            "imports": phases["imports"], "files": phases["files"], "config": phases["config"],
            "vLLM's process": last("begun") - vllm_began,
            "weights": weights,
            "compile, profile": last("profiled") - last("loaded"),
            "of it compile": sum(float(took) for took in re.findall(LINES["compiled"], log)),
            "graphs": graphs,
            "renderers": phases["renderers"],
            "first answer": answered - started,
        }  # fmt: skip
        parts = ("vLLM's process", "weights", "compile, profile", "graphs")
        seconds["rest"] = phases["vLLM"] - sum(seconds[name] for name in parts)
        return seconds | {"all": answered - began}


def _wait_for_upload(shared: Path) -> None:
    """Return when the shared cache has an object, or after a minute."""
    end = time.monotonic() + 60
    while not list(shared.glob("*.compiled")) and time.monotonic() < end:
        time.sleep(0.5)


def _requests_for(image: bytes) -> Any:
    def build(part: str, rows: list[int], prompt_builder: Any) -> Any:
        text = prompt_builder.prompt("describe the image")
        return (build_request(part, row, image, text, prompt_builder, {"max_tokens": 8}) for row in rows)

    return build


def _read_from(path: Path, offset: int) -> str:
    with path.open(errors="replace") as file:
        file.seek(offset)
        return file.read()


def start_empty(bench: Bench) -> dict[str, float]:
    return bench.measure_start(bench.models[0], bench.work / "node-1")


def start_same(bench: Bench) -> dict[str, float]:
    return bench.measure_start(bench.models[0], bench.work / "node-1")


def start_next(bench: Bench) -> dict[str, float]:
    return bench.measure_start(bench.models[1], bench.work / "node-1")


def start_uploading(bench: Bench) -> dict[str, float]:
    return bench.measure_start(bench.models[0], bench.work / "node-2", bench.work / "shared")


def start_fetching(bench: Bench) -> dict[str, float]:
    """Start on a node with nothing but what the shared cache has.

    Its folders are where those of the first node were, because the cache's key contains the path of a node's cache.
    """
    if (first := bench.work / "node-2").exists():
        first.rename(bench.work / "node-2-before")
    return bench.measure_start(bench.models[1], bench.work / "node-2", bench.work / "shared")


def start_forked(bench: Bench) -> dict[str, float]:
    return bench.measure_start(bench.models[0], bench.work / "node-1", forked=True)


ROWS: dict[str, tuple[str, Callable[[Bench], dict[str, float]]]] = {
    "empty": ("a fresh node, nothing cached", start_empty),
    "same": ("the same again, all cached", start_same),
    "next": ("the next checkpoint, all cached", start_next),
    "first fork": ("the first fork of a node: it waits for the fork server's imports", start_forked),
    "fork": ("forked, all cached", start_forked),
    "upload": ("a fresh node that fills the shared cache", start_uploading),
    "fetch": ("a fresh node, another checkpoint, from the shared cache", start_fetching),
}


def measure_vllm(bench: Bench) -> tuple[float, float]:
    """The seconds of `vllm bench startup` without caches and with them, for the same model and settings."""
    arguments = vllm_arguments(bench.engine, bench.has_gpu)
    command = [sys.executable, "-m", "benchmarks.vllm_startup", "--model", str(bench.models[0])]
    for name in ("dtype", "max_model_len", "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization"):
        if name in arguments:
            command += [f"--{name.replace('_', '-')}", str(arguments[name])]
    command += ["--enforce-eager"] if bench.engine.enforce_eager else []
    command += ["--limit-mm-per-prompt", json.dumps(arguments["limit_mm_per_prompt"])]
    if compilation := arguments.get("compilation_config"):
        command += ["--compilation-config", json.dumps(compilation)]
    output = bench.work / "startup.json"
    command += [
        "--num-iters-cold",
        "1",
        "--num-iters-warmup",
        "1",
        "--num-iters-warm",
        "1",
        "--output-json",
        str(output),
    ]
    variables = (
        os.environ | engine_environment(bench.engine, bench.has_gpu) | {"XDG_CACHE_HOME": str(bench.work / "vllm")}
    )
    run = subprocess.run(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if run.returncode or not output.exists():
        raise RuntimeError(run.stdout[-3000:])
    times = json.loads(output.read_text())
    return times["avg_cold_startup_time"], times["avg_warm_startup_time"]


def main(options: argparse.Namespace, work: Path) -> None:
    ray.init("local", include_dashboard=False, logging_level="warning", log_to_driver=False)
    has_gpu, tiny = bool(ray.cluster_resources().get("GPU")), is_tiny(options.geometry)
    engine = (
        Engine(dtype="float32", max_model_len=512, max_num_seqs=64, enforce_eager=not has_gpu)
        if tiny
        else Engine(dtype="bfloat16", max_model_len=2048, max_num_seqs=512)
    )
    models = write_checkpoints(options.models or work / "models", options.geometry, 2)
    bench = Bench(work, models, engine.model_copy(update=options.engine), (112, 112) if tiny else (504, 364), has_gpu)
    print(f"| seconds | all | {' | '.join(COLUMNS)} |\n| --- {'| --- ' * (len(COLUMNS) + 1)}|", flush=True)
    for row in options.rows:
        if row in ROWS:
            title, measure = ROWS[row]
            seconds = measure(bench)
            print(f"| {title} | {' | '.join(f'{seconds[name]:.1f}' for name in ('all', *COLUMNS))} |", flush=True)
    if "vllm" in options.rows:
        ray.shutdown()
        for title, whole in zip(("nothing cached", "all cached"), measure_vllm(bench), strict=True):
            print(f"| `vllm bench startup`, {title} | {whole:.1f} |{' |' * len(COLUMNS)}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start")
    parser.add_argument("--geometry", choices=GEOMETRIES, default="tiny")
    parser.add_argument("--rows", nargs="+", choices=[*ROWS, "vllm"], default=[*ROWS, "vllm"])
    parser.add_argument("--engine", type=json.loads, default={}, help="further settings of a suite's engine, as JSON")
    parser.add_argument("--models", type=Path, help="a folder where the checkpoints are, or will be")
    parser.add_argument("--work", default=tempfile.gettempdir())
    with tempfile.TemporaryDirectory(prefix="assay-benchmark-", dir=parser.parse_args().work) as folder:
        main(parser.parse_args(), Path(folder))
