"""The night's jobs without Airflow, for a GPU: captions, judge and verdict of each checkpoint, beside plain vLLM.

    .assay/data/bin/python -m benchmarks.night_engine --geometry 3b --svg night.svg   # on an H200, in one go
    .assay/data/bin/python -m benchmarks.night_engine --geometry tiny --images 64 --checkpoints 2   # tries it on a CPU

Weights are random, so the judge's answers mean nothing, and the verdicts neither; the work is that of a real night.
Jobs run as Airflow runs them: a process each, on one Ray cluster. The captions of the next checkpoint run while this
one is judged, as the router has them run where both engines share a GPU. `benchmarks.night_script` then does the same.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ray
import yaml

from benchmarks.engine import end_engines
from benchmarks.geometry import write_checkpoints
from benchmarks.jobs import draw_photographs
from benchmarks.night_tables import find_engine_reason
from benchmarks.run_phases import CAUSES, JobPhases, Span, TaskPhases, list_job_spans, sum_by_cause
from benchmarks.run_picture import draw_run
from ray_jobs.contract.spec import Spec
from ray_jobs.plan import plan
from ray_jobs.publish import publish

DEMO = Path(__file__).parent.parent / "demo"
CRITERIA = ["count", "colour", "size", "shape", "position", "background"]
TINY = {"dtype": "float32", "max_model_len": 1024, "max_num_seqs": 64, "enforce_eager": True}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.night_engine")
    parser.add_argument("--geometry", choices=["tiny", "3b", "7b"], default="3b")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--checkpoints", type=int, default=8)
    parser.add_argument("--sequences", type=int, default=512)
    parser.add_argument("--share", type=float, default=0.45, help="of the GPU's memory, for each of the two engines")
    parser.add_argument("--script", nargs="*", choices=["restart", "reload"], default=["restart", "reload"])
    parser.add_argument("--svg", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assay-night-") as name:
        work, tiny = Path(name), options.geometry == "tiny"
        models = write_checkpoints(work / "models", options.geometry, options.checkpoints + (not tiny))
        judge = DEMO / "judge" if tiny else models.pop().rename(work / "judge")
        images = work / "images"
        images.mkdir()
        for number, image in enumerate(draw_photographs(options.images, (112, 112) if tiny else (504, 364))):
            (images / f"{number:05d}.jpg").write_bytes(image)
        engine = TINY if tiny else {"dtype": "bfloat16", "max_model_len": 2048, "max_num_seqs": options.sequences}
        engine |= {"gpu_memory_utilization": options.share}
        (work / "night.yaml").write_text(yaml.safe_dump(build_suite(images, judge, engine, 8 if tiny else 64)))
        ray.init(
            "local", num_cpus=os.cpu_count(), include_dashboard=False, logging_level="warning", log_to_driver=False
        )
        began = time.time()
        jobs = run_jobs(work, models, os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}, began)
        length = time.time() - began
        rows = [TaskPhases(model, ended=ended, spans=list_spans(of_model)) for model, (ended, of_model) in jobs.items()]
        title = f"{options.geometry}: {options.checkpoints} checkpoints x {options.images} images"
        print("\n".join(format_jobs(title, length, rows, jobs)), flush=True)
        if options.svg:
            options.svg.write_text(draw_run(title, rows, length))
        end_engines()
        ray.shutdown()
        settings = engine
        if tiny:  # on a CPU, where vLLM reserves no share, and starts one process more unless it is told not to
            del settings["gpu_memory_utilization"]
            settings |= {"distributed_executor_backend": "uni"}
        for method in options.script:
            command = [
                sys.executable, "-m", "benchmarks.night_script", method, "--images", str(images),
                "--checkpoints", str(work / "models"), "--judge", str(judge), "--engine", json.dumps(settings),
                "--caption-tokens", "8" if tiny else "64", "--ignore-eos",
            ]  # fmt: skip
            began = time.time()
            subprocess.run(command, check=True)
            seconds = time.time() - began
            print(f"script, {method}: {seconds:.1f} s; Assay took {length / seconds:.2f} times as long", flush=True)


def build_suite(images: Path, judge: Path, engine: dict[str, Any], tokens: int) -> dict[str, Any]:
    return {
        "name": "night",
        "dataset": {"source": str(images)},
        "caption": {"prompt": "describe the image", "max_tokens": tokens},
        "engine": engine,
        "judge": {
            "kind": "vllm", "model": str(judge), "prompt": "judge: {caption}", "criteria": CRITERIA, "max_tokens": 96,
            "engine": engine,
        },
    }  # fmt: skip


def run_jobs(
    work: Path, models: list[Path], environment: dict[str, str], began: float
) -> dict[str, tuple[float, list[JobPhases]]]:
    """The seconds until each checkpoint's record, and its jobs. Captions and judge run in a thread each."""

    def plan_checkpoint(model: Path) -> Spec:
        return plan(str(work / "root"), str(work / "night.yaml"), str(model), by_hand=True)

    def judge_checkpoint(model: Path, captions: "Future[JobPhases]") -> tuple[float, list[JobPhases]]:
        caption_job = captions.result()
        spec = plan_checkpoint(model)  # again, because the one before is its baseline now
        evaluate_job = run_job("evaluate", spec, environment, began)
        publish(spec)
        return time.time() - began, [caption_job, evaluate_job]

    golden = run_job("preprocess", plan_checkpoint(models[0]), environment, began)
    print(f"golden set: {(golden.over or 0) - golden.submitted:.1f} s", flush=True)
    with ThreadPoolExecutor(1) as captioner, ThreadPoolExecutor(1) as judges:
        captions = [
            captioner.submit(run_job, "caption", plan_checkpoint(model), environment, began) for model in models
        ]
        judged = [
            judges.submit(judge_checkpoint, model, future) for model, future in zip(models, captions, strict=True)
        ]
        return {model.name: future.result() for model, future in zip(models, judged, strict=True)}


def run_job(stage: str, spec: Spec, environment: dict[str, str], began: float) -> JobPhases:
    """Run the stage in a process of its own, and note when it wrote which line. Raises RuntimeError if it fails."""
    submitted, lines = time.time() - began, list[tuple[float, str]]()
    command = [sys.executable, "-u", "-m", f"ray_jobs.{stage}", "--spec", spec.uri]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        lines.extend((time.time() - began, line.rstrip()) for line in process.stdout if line.strip())
    over = time.time() - began
    if process.returncode:
        raise RuntimeError("\n".join(line for _, line in lines[-40:]))
    return JobPhases(stage, stage, submitted, submitted, lines[0][0], lines[-1][0], over, over, lines)


def list_spans(jobs: list[JobPhases]) -> list[Span]:
    return [span for job in jobs for span in list_job_spans(job, job.task, None)]


def format_jobs(
    title: str, length: float, rows: list[TaskPhases], jobs: dict[str, tuple[float, list[JobPhases]]]
) -> list[str]:
    lines = [
        f"### {title}: {length:.1f} s",
        "",
        "| checkpoint | caption job | engine | evaluate job | judge's engine | verdict at |",
        "| --- | --- | --- | --- | --- | ---: |",
    ]
    for name, (ended, of_model) in jobs.items():
        cells = [
            f"{job.submitted:.1f} to {job.over:.1f} | {find_engine_reason(of_model, job.task)}" for job in of_model
        ]
        lines.append(f"| {name} | {' | '.join(cells)} | {ended:.1f} |")
    sums = sum_by_cause([span for row in rows for span in row.spans], length)
    lines += ["", "| seconds by cause | s |", "| --- | ---: |"]
    lines += [f"| {words} | {sums[cause]:.1f} |" for cause, words in CAUSES.items() if sums[cause]]
    return [*lines, ""]


if __name__ == "__main__":
    main()
