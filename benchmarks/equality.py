"""Compares the captions of this version with those of another one on every checkpoint of the demo; prints a table.

    git worktree add --detach /tmp/before TAG
    .assay/data/bin/python -m benchmarks.equality /tmp/before     # two cores, three minutes

Each version captions the demo's eight checkpoints in two suites, as jobs on a running cluster: the first checkpoint of
a suite starts an engine, the others swap its weights. A copy of one checkpoint shares the captions of that checkpoint.
Both versions read the checkpoints and images of this one. All columns but the times are compared. Exit code 1 if any
row differs.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import ray

ROOT = Path(__file__).parent.parent
FIND_CAPTIONS = """import sys, pathlib, ray_jobs.contract.spec as module
print(module.Spec.model_validate_json(pathlib.Path(sys.argv[1]).read_text()).captions_uri)"""
TIMES = ("arrived", "finished")  # columns that are not compared


def main(other: Path, work: Path) -> int:
    again = work / "step-0800-again"
    shutil.copytree(ROOT / "demo" / "checkpoints" / "step-0800", again)
    captioners = sorted([*(ROOT / "demo" / "checkpoints").iterdir(), again], key=lambda folder: folder.name)
    checkpoints = [("demo", folder) for folder in captioners]
    checkpoints += [("demo-fields", folder) for folder in sorted((ROOT / "demo" / "checkpoints-fields").iterdir())]
    before = caption_all(other, work / "before", checkpoints)
    now = caption_all(ROOT, work / "now", checkpoints)
    print("| suite | checkpoint | images before | images now | equal | engine before | engine now |")
    print("| --- " * 7 + "|")
    equal_count = image_count = 0
    for (suite, folder), (old, old_engine), (new, new_engine) in zip(checkpoints, before, now, strict=True):
        equal = sum(row == new.get(image) for image, row in old.items())
        equal_count, image_count = equal_count + equal, image_count + len(old.keys() | new.keys())
        counts = f"{len(old)} | {len(new)} | {equal}"
        print(f"| {suite} | {folder.name} | {counts} | {old_engine} | {new_engine} |")
    print(f"\n{equal_count} of {image_count} are equal")
    return 0 if equal_count == image_count else 1


def caption_all(
    tree: Path, work: Path, checkpoints: list[tuple[str, Path]]
) -> list[tuple[dict[str, dict[str, object]], str]]:
    """For each checkpoint its captions by image, and how its weights got into the engine, by the version in `tree`."""
    work.mkdir()
    ray.init("local", num_cpus=4, include_dashboard=False, logging_level="warning", log_to_driver=False)
    variables = {
        "PYTHONPATH": str(tree), "RAY_ADDRESS": ray.get_runtime_context().gcs_address, "RAY_USAGE_STATS_ENABLED": "0",
        "HF_HUB_OFFLINE": "1", "ASSAY_CACHE": str(work / "cache"), "ASSAY_SOURCES": f"{ROOT},{tree}",
    }  # fmt: skip
    answers = []
    for suite, folder in checkpoints:
        suite_file = str(ROOT / "dags" / "suites" / f"{suite}.yaml")
        request = ("--suite", suite_file, "--checkpoint", str(folder), "--root", str(work / "root"))
        spec_uri = run_python(tree, variables, "-m", "ray_jobs.plan", *request).splitlines()[-1]
        for stage in ("preprocess", "caption"):
            run_python(tree, variables, "-m", f"ray_jobs.{stage}", "--spec", spec_uri)
        captions_folder = run_python(tree, variables, "-c", FIND_CAPTIONS, spec_uri).splitlines()[-1]
        answers.append(read_captions(Path(captions_folder)))
        print(f"{tree.name}: {suite}, {folder.name}: {len(answers[-1][0])} images", file=sys.stderr, flush=True)
    ray.shutdown()
    return answers


def run_python(tree: Path, variables: dict[str, str], *arguments: str) -> str:
    """What Python printed, with the version in `tree`. Raises RuntimeError with the end of it if it fails."""
    process = subprocess.run(
        [sys.executable, *arguments], cwd=tree, env=os.environ | variables,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if process.returncode:
        raise RuntimeError(f"{tree}: {arguments}:\n{process.stdout[-3000:]}")
    return process.stdout


def read_captions(folder: Path) -> tuple[dict[str, dict[str, object]], str]:
    """All columns but the times by image, and how the weights got into the engine, from the files of either version."""
    captions: dict[str, dict[str, object]] = {}
    for part in folder.glob("parts/*.parquet"):
        table = pq.read_table(part)
        columns = [name for name in table.column_names if name not in TIMES]
        captions |= {row.pop("image_id"): row for row in table.select(columns).to_pylist()}
    return captions, json.loads((folder / "manifest.json").read_text())["details"]["engine"]["told"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.equality")
    parser.add_argument("other", type=Path, help="a checkout of the other version")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assay-benchmark-") as place:
        sys.exit(main(options.other.resolve(), Path(place)))
