"""A whole night in a real Airflow, from the first upload to the last verdict, beside a script with plain vLLM.

    .assay/control/bin/python -m benchmarks.night --images 200 --checkpoints 2      # a small one first
    .assay/control/bin/python -m benchmarks.night                                   # 8 checkpoints x 1,000 images

Starts a stack of its own and the S3 server of the tests (`--storage folder` does without), uploads the checkpoints one
by one, and lets the router validate them, as in production. The demo's judge answers about every caption. Then the
script runs on the same images and checkpoints, after the stack has stopped. Prints where the seconds went: a table per
checkpoint, the sums by cause, and the script's seconds. `--svg FILE` draws the night. ASSAY_AIRFLOW_PORT and
ASSAY_RAY_PORT change the stack's ports. `benchmarks.night_engine` is the part for a GPU.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.night_tables import Night, Validation, format_night, format_script
from benchmarks.run_picture import draw_run
from benchmarks.run_recorder import Recording, read_load, read_tasks, watch_jobs
from dev import stack
from dev.airflow_api import DAG, ENDED, AirflowAPI
from dev.settings import REPO, Settings
from ray_jobs.storage import objects

ENGINE = {"dtype": "float32", "max_model_len": 512, "max_num_seqs": 64, "enforce_eager": True}
CRITERIA = ["count", "colour", "size", "shape", "position", "background"]
LONGEST_S = 7200


@dataclass
class Uploads:
    """When the upload of each checkpoint began and ended, in epoch seconds."""

    times: dict[str, tuple[float, float]] = field(default_factory=dict)
    error: BaseException | None = None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.night", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--checkpoints", type=int, default=8)
    parser.add_argument("--every", type=float, default=10.0, help="seconds from the end of an upload to the next")
    parser.add_argument("--storage", choices=["s3", "folder"], default="s3")
    parser.add_argument("--watch-seconds", type=float, default=60.0, help="as ASSAY_WATCH_SECONDS, whose default it is")
    parser.add_argument(
        "--share",
        type=float,
        default=0.9,
        help="gpu_memory_utilization of each engine; 0.45: captions run beside the judge",
    )
    parser.add_argument("--script", nargs="*", choices=["restart", "reload"], default=["restart", "reload"])
    parser.add_argument("--inputs", type=Path, help="folder for images and checkpoints, kept for the next time")
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--keep", type=Path, help="JSON file for all that was recorded")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assay-night-") as name:
        work = Path(name)
        inputs = make_inputs(arguments.inputs or work / "inputs", arguments.images, arguments.checkpoints)
        with serve_storage(arguments.storage, work) as place:
            night = run_night(work, place, inputs, arguments)
        print(format_night(night), flush=True)
        if arguments.keep:
            arguments.keep.write_text(json.dumps(night.to_json()))
        if arguments.svg:
            arguments.svg.write_text(draw_run(night.title, night.list_rows(), night.length))
        for method in arguments.script:
            print(format_script(night, method, run_script(method, inputs)), flush=True)
    return 0


def make_inputs(folder: Path, images: int, checkpoints: int) -> dict[str, Path]:
    """Folders of the night's images and of its checkpoints."""
    command = [
        str(Settings().data / "bin" / "python"), "-m", "benchmarks.night_inputs", str(folder),
        "--images", str(images), "--checkpoints", str(checkpoints),
    ]  # fmt: skip
    output = subprocess.run(command, cwd=REPO, env=script_environment(), check=True, stdout=subprocess.PIPE, text=True)
    return {key: Path(value) for key, value in json.loads(output.stdout.splitlines()[-1]).items()}


def script_environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(REPO), "HF_HUB_OFFLINE": "1"}


@contextmanager
def serve_storage(kind: str, work: Path) -> Iterator[str]:
    """Where the night stores everything: a folder, or a bucket on the S3 server of the tests."""
    if kind == "folder":
        yield str(work / "storage")
        return
    command = [sys.executable, str(REPO / "tests" / "s3_server.py"), str(work / "s3")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            for line in server.stdout:
                name, _, value = line.strip().removeprefix("export ").partition("=")
                os.environ[name] = value
                if name == "AWS_DEFAULT_REGION":  # the last one
                    break
            from ray_jobs.storage import s3_client

            s3_client.get_client().create_bucket(Bucket="night")
            yield "s3://night"
        finally:
            server.terminate()


def run_night(work: Path, place: str, inputs: dict[str, Path], arguments: argparse.Namespace) -> Night:
    suites = work / "suites"
    suites.mkdir()
    (suites / "night.yaml").write_text(yaml.safe_dump(build_suite(inputs["images"], arguments.share)))
    os.environ |= {
        "ASSAY_CHECKPOINTS": f"{place}/checkpoints", "ASSAY_ROUTER_SUITE": "night", "ASSAY_SUITES": str(suites),
        "ASSAY_WATCH_SECONDS": str(arguments.watch_seconds), "HF_HUB_OFFLINE": "1",
        "ASSAY_CACHE": str(work / "cache"),
    }  # fmt: skip
    (work / "storage" / "checkpoints").mkdir(parents=True)
    settings = Settings(run=work / "run", root=f"{place}/root")
    try:
        stack.up(settings)
        api = AirflowAPI(settings)
        api.login()
        recording, uploads = Recording("", time.time(), load=read_load()), Uploads()
        uploader = threading.Thread(
            target=upload_all,
            args=(inputs["checkpoints"], f"{place}/checkpoints", arguments.every, uploads),
            daemon=True,
        )
        with watch_jobs(settings, recording):
            uploader.start()
            run_ids = await_runs(api, arguments.checkpoints, uploads)
        validations = [read_validation(api, run_id, recording, uploads) for run_id in run_ids]
    finally:
        stack.down(settings)
    title = f"{arguments.checkpoints} checkpoints x {arguments.images} images, {arguments.storage}"
    return Night(title, recording.load, recording.began, validations)


def build_suite(images: Path, share: float) -> dict[str, Any]:
    """The demo's suite over the night's images."""
    return {
        "name": "night",
        "dataset": {"source": str(images), "references": "caption"},
        "preprocess": {"max_pixels": 12544, "format": "png", "part_rows": 64},
        "caption": {"prompt": "describe the image", "max_tokens": 32},
        "engine": ENGINE | {"gpu_memory_utilization": share},
        "judge": {
            "kind": "vllm", "model": str(REPO / "demo" / "judge"), "prompt": "judge: {caption}", "criteria": CRITERIA,
            "max_tokens": 96, "engine": ENGINE | {"gpu_memory_utilization": share},
        },
        "gate": {"coverage": 0.99, "metrics": {"judge": {"margin": 0.05}, "exact_match": {"margin": 0.05}}},
    }  # fmt: skip


def upload_all(folder: Path, to: str, every: float, uploads: Uploads) -> None:
    """Upload one checkpoint after the other, as a training run does."""
    try:
        for checkpoint in sorted(folder.iterdir()):
            began = time.time()
            for file in sorted(checkpoint.iterdir()):
                objects.write(f"{to}/{checkpoint.name}/{file.name}", file.read_bytes())
            uploads.times[checkpoint.name] = (began, time.time())
            time.sleep(every)
    except BaseException as error:
        uploads.error = error


def await_runs(api: AirflowAPI, count: int, uploads: Uploads) -> list[str]:
    """The ids of the validations in the order of their requests, when `count` of them have ended."""
    until = time.monotonic() + LONGEST_S
    while True:
        if uploads.error:
            raise uploads.error
        runs = api.get(f"/api/v2/dags/{DAG}/dagRuns", params={"limit": 100})["dag_runs"]
        if sum(run["state"] in ENDED for run in runs) >= count:
            return [run["dag_run_id"] for run in sorted(runs, key=lambda run: run["queued_at"])]
        if time.monotonic() > until:
            raise TimeoutError(f"only {[(run['dag_run_id'], run['state']) for run in runs]} within {LONGEST_S} s")
        time.sleep(1)


def read_validation(api: AirflowAPI, run_id: str, night: Recording, uploads: Uploads) -> Validation:
    run = read_tasks(api, run_id)
    requested, ended, run.began = run.began, run.ended, night.began
    run.jobs = night.jobs
    name = run.conf["checkpoint"].rpartition("/")[2]
    summary = api.read_summary(run_id)
    return Validation(
        name=name,
        uploaded=uploads.times[name],
        requested=requested,
        ended=ended,
        outcome=summary["outcome"] if summary else "none",
        recording=asdict(run),
    )


def run_script(method: str, inputs: dict[str, Path]) -> list[dict[str, Any]]:
    """The lines that the expert's script prints."""
    command = [
        str(Settings().data / "bin" / "python"), "-m", "benchmarks.night_script", method,
        "--images", str(inputs["images"]), "--checkpoints", str(inputs["checkpoints"]),
        "--judge", str(REPO / "demo" / "judge"),
    ]  # fmt: skip
    began = time.time()
    output = subprocess.run(command, cwd=REPO, env=script_environment(), check=True, stdout=subprocess.PIPE, text=True)
    lines = [json.loads(line) for line in output.stdout.splitlines() if line.startswith("{")]
    lines[-1]["seconds"] = time.time() - began  # with the start of Python
    return lines


if __name__ == "__main__":
    sys.exit(main())
