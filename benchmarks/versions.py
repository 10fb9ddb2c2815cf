"""This version of Assay against another one, in turn, on the same images; prints a Markdown table.

    git worktree add --detach /tmp/before TAG
    .assay/data/bin/python -m benchmarks.versions /tmp/before              # preprocessing, and the engine on a CPU
    .assay/data/bin/python -m benchmarks.versions /tmp/before --rounds 5

Both versions run in the same environment. The CPU seconds are those of all processes, Ray's own included. A ratio is
the median of the rounds' ratios, because the speed of a shared machine changes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
IMAGES = 1500
CHECKPOINTS = ("step-0200", "step-0300", "step-0800", "step-0809")


def main(other: Path, rounds: int, work: Path) -> None:
    from benchmarks.command_cost import Cost, measure_command
    from benchmarks.pictures import write_jpegs

    write_jpegs(work / "photographs", IMAGES, 1280, 960)
    costs: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for number in range(rounds):
        trees = {"before": other, "now": ROOT}
        for workload in ("preprocess", "sweep"):
            for version in sorted(trees, reverse=number % 2 == 1):
                place = work / f"{workload}-{version}-{number}"
                place.mkdir()
                variables = {"PYTHONPATH": str(trees[version]), "RAY_USAGE_STATS_ENABLED": "0", "HF_HUB_OFFLINE": "1"}
                command = [sys.executable, __file__, "--workload", workload, "--work", str(place), str(trees[version])]
                cost: Cost = measure_command(command, variables)
                measures = json.loads(cost.output.splitlines()[-1])
                costs.setdefault((workload, version), []).append((cost.cpu, measures["seconds"]))
                print(f"{workload} {version}: {cost.cpu:.1f} CPU s, {measures}", file=sys.stderr, flush=True)
    print(f"| workload | measure | before | now | now/before, {rounds} rounds |\n| --- | --- | --- | --- | --- |")
    for workload, title in (
        ("preprocess", f"golden set of {IMAGES} JPEGs of 1280x960"),
        ("sweep", f"{len(CHECKPOINTS)} checkpoints on a warm engine, 262 images each"),
    ):
        for index, measure in enumerate(("CPU s", "wall s")):
            before, now = ([cost[index] for cost in costs[workload, version]] for version in ("before", "now"))
            ratio = statistics.median(after / earlier for earlier, after in zip(before, now, strict=True))
            seconds = f"{statistics.median(before):.1f} | {statistics.median(now):.1f}"
            print(f"| {title} | {measure} | {seconds} | {ratio:.3f} |")


def run_preprocess(work: Path) -> float:
    """The wall seconds of one job on a new Ray cluster."""
    spec_uri = _plan(work, "step-0800", {"dataset": {"source": str(work.parent / "photographs")}})
    return _run("preprocess", spec_uri, os.environ | {"RAY_ADDRESS": "local"})


def run_sweep(work: Path) -> float:
    """The wall seconds of the caption jobs, one per checkpoint, on one cluster; the first starts the engine."""
    import ray

    ray.init("local", num_cpus=os.cpu_count(), include_dashboard=False, logging_level="warning", log_to_driver=False)
    environment = os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    sections: dict[str, object] = {
        "dataset": {"source": str(ROOT / "demo" / "images"), "limit": 271},  # of which 262 are kept
        "preprocess": {"max_pixels": 12544, "format": "png", "part_rows": 64},
        "caption": {"prompt": "describe the image", "max_tokens": 32},
        "engine": {"dtype": "float32", "max_model_len": 512, "max_num_seqs": 64},
    }
    seconds = 0.0
    for checkpoint in CHECKPOINTS:
        spec_uri = _plan(work, checkpoint, sections)
        _run("preprocess", spec_uri, environment)
        seconds += _run("caption", spec_uri, environment)
    return seconds


def _plan(work: Path, checkpoint: str, sections: dict[str, object]) -> str:
    import yaml

    from ray_jobs.plan import plan  # of the version that PYTHONPATH names

    (work / "suite.yaml").write_text(yaml.safe_dump({"name": "benchmark", **sections}))
    folder = ROOT / "demo" / "checkpoints" / checkpoint
    return plan(str(work / "root"), str(work / "suite.yaml"), str(folder), by_hand=True).uri


def _run(stage: str, spec_uri: str, environment: dict[str, str]) -> float:
    began = time.perf_counter()
    command = [sys.executable, "-m", f"ray_jobs.{stage}", "--spec", spec_uri]
    process = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if process.returncode:
        raise RuntimeError(process.stdout[-3000:])
    return time.perf_counter() - began


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versions")
    parser.add_argument("other", type=Path, help="a checkout of the other version")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workload", choices=["preprocess", "sweep"], help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.workload:
        workloads = {"preprocess": run_preprocess, "sweep": run_sweep}
        print(json.dumps({"seconds": workloads[arguments.workload](arguments.work)}))
    else:
        with tempfile.TemporaryDirectory(prefix="assay-benchmark-") as folder:
            main(arguments.other.resolve(), arguments.rounds, Path(folder))
