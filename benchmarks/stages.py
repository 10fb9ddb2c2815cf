"""The stages of a demo validation, each as a job on a running cluster: this version against another one, in turn.

    git archive TAG | tar x -C /tmp/before
    .assay/data/bin/python -m benchmarks.stages /tmp/before                # the root is a directory
    .assay/data/bin/python -m benchmarks.stages /tmp/before --delay 0.05   # on an S3 server, each request 50 ms later

Each version validates step-0300 (which prepares the images and starts the engines), step-0800 (a new checkpoint with
warm engines), and step-0800 again, by jobs and then by `assay run`. Prints a Markdown table for the new checkpoint and
for the one with nothing to do. The CPU seconds are those of the job's driver, and those of all processes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parent.parent
FIRST, NEW = "step-0300", "step-0800"
STAGES = ("preprocess", "caption", "evaluate", "publish")
MEASURES = ("wall s", "driver CPU s", "all CPU s", "requests")


class Watch(threading.Thread):
    """Adds up the CPU seconds of all processes below this one, sampled ten times per second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seconds: dict[int, float] = {}

    def run(self) -> None:
        me = psutil.Process()
        while True:
            for process in me.children(recursive=True):
                with suppress(psutil.Error):
                    times = process.cpu_times()
                    self.seconds[process.pid] = times.user + times.system
            time.sleep(0.1)

    def total(self) -> float:
        time.sleep(0.25)  # so that the last sample is complete
        return sum(self.seconds.values())


def main(other: Path, rounds: int, delay: float | None, work: Path) -> None:
    rows: dict[tuple[str, str], dict[str, list[dict[str, float]]]] = {}
    for number in range(rounds):
        trees = {"before": other, "now": ROOT}
        for version in sorted(trees, reverse=number % 2 == 1):
            place = work / f"{version}-{number}"
            place.mkdir()
            command = [sys.executable, __file__, "--work", str(place), str(trees[version])]
            command += [] if delay is None else ["--delay", str(delay)]
            variables = {
                "PYTHONPATH": f"{trees[version]}:{ROOT / 'tests'}:{ROOT}", "RAY_USAGE_STATS_ENABLED": "0",
                "HF_HUB_OFFLINE": "1", "ASSAY_CACHE": str(place / "cache"),
            }  # fmt: skip
            variables["ASSAY_SOURCES"] = f"{ROOT},s3://"
            run = subprocess.run(command, env=os.environ | variables, stdout=subprocess.PIPE, text=True, check=True)
            for line in run.stdout.splitlines():
                if line.startswith("{"):
                    measured = json.loads(line)
                    print(version, line, file=sys.stderr, flush=True)
                    key = measured.pop("checkpoint"), measured.pop("stage")
                    rows.setdefault(key, {}).setdefault(version, []).append(measured)
    print(f"| checkpoint | stage | measure | before | now | now/before, {rounds} rounds |")
    print("| --- | --- | --- | --- | --- | --- |")
    for (checkpoint, stage), versions in rows.items():
        for measure in MEASURES:
            before, now = (
                statistics.median(row.get(measure, 0.0) for row in versions[name]) for name in ("before", "now")
            )
            if before:
                print(f"| {checkpoint} | {stage} | {measure} | {before:.2f} | {now:.2f} | {now / before:.2f} |")


def run_version(work: Path, delay: float | None) -> None:
    """Validate the checkpoints with the version that PYTHONPATH names. Prints one JSON object per stage."""
    with ExitStack() as stack:
        store = None
        if delay is not None:
            from s3_server import start_swift  # of the tests

            from benchmarks.slow_store import serve_slowly

            variables = stack.enter_context(start_swift(work / "swift"))
            store = stack.enter_context(serve_slowly(variables["AWS_ENDPOINT_URL"], delay))
            os.environ |= variables | {"AWS_ENDPOINT_URL": store.endpoint}
            _create_bucket()
        import ray

        ray.init("local", num_cpus=4, include_dashboard=False, logging_level="warning", log_to_driver=False)
        os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
        watch = Watch()
        watch.start()
        root = str(work / "root") if store is None else "s3://benchmark/root"
        counts = store.requests if store else Counter[str]()
        for name, folder in ((FIRST, FIRST), (NEW, NEW), (f"{NEW} again", NEW)):
            spec = None
            for stage in ("plan", *STAGES):
                arguments = ["--suite", "demo", "--checkpoint", _folder_of(folder), "--root", root]
                before = counts.copy()
                measured, output = _measure(watch, stage, arguments if spec is None else ["--spec", spec])
                spec = spec or output.splitlines()[-1]
                requests = counts - before
                _report(name, stage, measured | ({"requests": requests.total()} if store else {}))
                if store and os.environ.get("SHOW_REQUESTS"):
                    for request, count in requests.items():
                        print(f"    {name} {stage} {count} {request}", file=sys.stderr)
        before = counts.copy()
        measured, _ = _measure(watch, "run", [_folder_of("step-0809"), "--suite", "demo", "--root", root])
        _report("step-0809", "assay run", measured | ({"requests": (counts - before).total()} if store else {}))


def _folder_of(checkpoint: str) -> str:
    return str(ROOT / "demo" / "checkpoints" / checkpoint)


def _report(checkpoint: str, stage: str, measured: dict[str, Any]) -> None:
    print(json.dumps({"checkpoint": checkpoint, "stage": stage, **measured}), flush=True)


def _measure(watch: Watch, stage: str, arguments: list[str]) -> tuple[dict[str, Any], str]:
    """Run a stage to its end. Returns its wall and CPU seconds, and what it printed."""
    total, began = watch.total(), time.perf_counter()
    command = [sys.executable, "-m", f"ray_jobs.{stage}", *arguments]
    tree = os.environ["PYTHONPATH"].split(":")[0]  # `-m` looks in the working directory first
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, cwd=tree, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        took = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if process.returncode not in (0, 3):  # `assay run` ends with 3 when the verdict is FAIL
        raise RuntimeError(text[-3000:])
    driver = usage.ru_utime + usage.ru_stime
    return {"wall s": round(took, 2), "driver CPU s": round(driver, 2),
            "all CPU s": round(driver + watch.total() - total - _of_driver(watch, process.pid), 2)}, text  # fmt: skip


def _of_driver(watch: Watch, pid: int) -> float:
    return watch.seconds.get(pid, 0.0)


def _create_bucket() -> None:
    from ray_jobs.storage.s3_client import get_client

    get_client().create_bucket(Bucket="benchmark")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stages")
    parser.add_argument("other", type=Path, help="a checkout of the other version")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--delay", type=float, help="seconds before each request to an S3 server")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        run_version(options.work, options.delay)
    else:
        with tempfile.TemporaryDirectory(prefix="assay-benchmark-") as folder:
            main(options.other.resolve(), options.rounds, options.delay, Path(folder))
