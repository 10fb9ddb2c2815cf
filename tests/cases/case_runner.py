"""Runs one case on a tree of Assay by its commands alone, so that an older tree can run the same case."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

REPOSITORY = Path(__file__).parents[2]
GOOD = REPOSITORY / "demo" / "checkpoints" / "step-0800"
SHOWN_CHARACTERS = 400  # of a line in the table
TIMEOUT_S = 180  # a job that takes longer is said to wait for ever
VARIABLES = {"ASSAY_GPU": "0", "ASSAY_JUDGE_KEY": "sk-none"}


@dataclass(frozen=True)
class Case:
    """`build` makes the input below a folder, runs the commands and returns their result in one line.

    `right` is a regular expression that the line of a right product matches; `before` is that of e0c6db2.
    """

    name: str
    source: str
    situation: str
    right: str
    before: str
    build: "Build"


@dataclass(frozen=True)
class CaseRunner:
    """A tree of Assay and the Ray cluster that its jobs join."""

    tree: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def call(self, *arguments: str, seconds: float = TIMEOUT_S, **variables: str) -> tuple[int, str]:
        """The exit code and the last line of a module's run; -9 when it did not end in time."""
        environment = {**os.environ, **self.environment, "PYTHONPATH": str(self.tree), **variables}
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], env=environment, cwd=self.tree, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            output, _ = process.communicate()
            return -9, f"still waiting after {seconds:g} s; last: {last_line(output)}"
        return process.returncode, last_line(output)

    def plan(self, folder: Path, checkpoint: Path, suite: dict[str, Any]) -> tuple[str | None, str]:
        """The spec's URI, or None and the line that says why there is no plan."""
        file = folder / "suite.yaml"
        file.write_text(yaml.safe_dump({"name": "suite"} | suite, allow_unicode=True))
        code, line = self.call(
            "ray_jobs.plan", "--suite", str(file), "--checkpoint", str(checkpoint), "--root", str(folder / "root")
        )
        return (line, line) if code == 0 else (None, f"plan, exit {code}: {line}")

    def stage(self, stage: str, spec: str, seconds: float = TIMEOUT_S, **variables: str) -> tuple[int, str]:
        code, line = self.call(f"ray_jobs.{stage}", "--spec", spec, seconds=seconds, **variables)
        return code, line if code == 0 else f"{stage}, exit {code}: {line}"


Build = Callable[[CaseRunner, Path], str]


def last_line(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else "nothing printed"


def prepare(runner: CaseRunner, folder: Path, dataset: dict[str, Any], **preprocess: Any) -> str:
    """Plan and preprocess a data set; returns what its golden set holds, or the last line of the stage that failed."""
    settings = {"max_pixels": 12544, "part_rows": 8} | preprocess
    suite = {"dataset": dataset, "preprocess": settings, "caption": {"prompt": "describe the image"}}
    spec, line = runner.plan(folder, GOOD, suite)
    if spec is None:
        return line
    code, line = runner.stage("preprocess", spec)
    return line if code else describe(folder / "root")


def describe(root: Path) -> str:
    """The golden set below a root: the number of its images, the references of the first image, and all labels."""
    (manifest,) = (root / "golden").glob("*/manifest.json")
    counts = json.loads(manifest.read_text())
    rows = [
        row
        for part in sorted((manifest.parent / "parts").glob("*.parquet"))
        for row in pq.ParquetFile(part).read(columns=["image_id", "references", "label"]).to_pylist()
    ]
    rows.sort(key=lambda row: row["image_id"])
    rejected = f", rejected {counts['lost']}" if counts["lost"] else ""
    first = rows[0]
    bare = sum(not row["references"] for row in rows)
    labels = sorted({row["label"] for row in rows if row["label"] is not None})
    return (
        f"complete, {len(rows)} images{rejected}; references {json.dumps(first['references'], ensure_ascii=False)}, "
        f"{bare} without; labels {json.dumps(labels, ensure_ascii=False)}"
    )


@contextmanager
def open_runner(tree: Path, home: Path) -> Iterator[CaseRunner]:
    """A runner of the tree on a Ray cluster of its own, which ends with the block."""
    import ray_cluster

    ray_cluster.ROOT = tree
    with ray_cluster.start_cluster(VARIABLES | {"ASSAY_CACHE": str(home / "cache")}) as cluster:
        yield CaseRunner(tree, cluster.environment)
