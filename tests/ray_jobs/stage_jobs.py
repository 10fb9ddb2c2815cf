"""Runs jobs as Airflow does: each in its own process on a Ray cluster, with the URI of a spec as its argument."""

import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from ray_jobs.contract.artifacts import Failure, Manifest, Scores
from ray_jobs.contract.spec import Spec
from ray_jobs.plan import plan
from ray_jobs.storage import manifests, object_listing, objects, parts

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "demo"
GOOD = DEMO / "checkpoints" / "step-0800"
PROMPT = "describe the image"
ENGINE = {"dtype": "float32", "max_model_len": 512, "max_num_seqs": 4, "enforce_eager": True, "keep_seconds": 60}


@dataclass(frozen=True)
class ProcessResult:
    code: int
    output: str

    @property
    def json_lines(self) -> list[Any]:
        """The lists and objects that a driver printed as JSON, line by line."""
        values = []
        for line in self.output.splitlines():
            if line.startswith(("{", "[")):
                with suppress(ValueError):
                    values.append(json.loads(line))
        return values

    @property
    def last_json(self) -> Any:
        """The last one of them. Ray may have printed a line after it."""
        return self.json_lines[-1]


def plan_spec(folder: Path, root: str, checkpoint: str, source: str, **sections: dict[str, Any]) -> Spec:
    """Plan a spec for the tiny models. Sections of the suite are added or replaced key by key."""
    suite: dict[str, dict[str, Any]] = {
        "dataset": {"source": source},
        "preprocess": {"max_pixels": 12544, "format": "png", "part_rows": 8},
        "caption": {"prompt": PROMPT, "max_tokens": 32},
        "engine": ENGINE,
    }
    for section, settings in sections.items():
        suite[section] = suite.get(section, {}) | settings
    if suite["engine"].get("kind") == "ray_data_llm":  # it does not stay, and such a setting would be refused
        suite["engine"] = {name: value for name, value in suite["engine"].items() if name != "keep_seconds"}
    file = folder / "suite.yaml"
    file.write_text(yaml.safe_dump({"name": "tiny"} | suite))
    return plan(root, str(file), checkpoint, by_hand=True)


def start_stage(stage: str, spec: Spec, **environment: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", f"ray_jobs.{stage}", "--spec", spec.uri]
    return subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for_exit(process: "subprocess.Popen[str]", timeout: float = 600) -> ProcessResult:
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        raise AssertionError(f"not done in {timeout} s:\n{output[-5000:]}") from None
    return ProcessResult(process.returncode, output)


def run_stage(stage: str, spec: Spec, expected: int = 0, **environment: str) -> str:
    result = wait_for_exit(start_stage(stage, spec, **environment))
    assert result.code == expected, f"exit {result.code}:\n{result.output[-5000:]}"
    return result.output


def kill_when(process: "subprocess.Popen[str]", ready: Callable[[], bool], timeout: float = 600) -> None:
    """Send kill -9 to the job once `ready` is true. Raises AssertionError if the job ends before."""
    wait_until(lambda: ready() or process.poll() is not None, timeout)
    assert process.poll() is None, f"ended before it could be killed:\n{process.communicate()[0][-3000:]}"
    process.send_signal(signal.SIGKILL)
    process.communicate()


def wait_until(ready: Callable[[], bool], timeout: float, every: float = 0.01) -> None:
    """Wait for the condition. Time in which a process of this machine waited for a processor does not count.

    On a busy machine a limit in seconds says nothing about the awaited event.
    """
    began, stalled = time.monotonic(), _stalled_seconds()
    while not ready():
        waited = time.monotonic() - began
        assert waited < timeout or waited - (_stalled_seconds() - stalled) < timeout, f"still waiting, {waited:.0f} s"
        time.sleep(every)


def _stalled_seconds() -> float:
    """Seconds since this machine's start in which some process waited for a processor; 0 if Linux does not count it."""
    with suppress(OSError):
        some = Path("/proc/pressure/cpu").read_text().splitlines()[0]
        return int(some.partition("total=")[2]) / 1e6
    return 0.0


def assert_stage_fails(
    stage: str, spec: Spec, code: int, pattern: str, in_ray: bool = False, **environment: str
) -> None:
    """The job ends with the code, one line that says why, and the same line in failure.json. No manifest exists.

    What fails `in_ray` is logged by Ray too, with its traceback; our line comes after it.
    """
    output = run_stage(stage, spec, expected=code, **environment)
    kind = {2: "bad input, retrying cannot help", 1: "trouble, worth retrying"}[code]
    lines = [line for line in output.splitlines() if f"{stage} failed ({kind}): " in line]
    assert len(lines) == 1, output[-3000:]
    assert re.search(pattern, lines[0]), lines[0]
    assert in_ray or "Traceback" not in output
    assert lines[0] == output.splitlines()[-1]
    failure = Failure.model_validate_json(objects.read(f"{spec.run_uri}/failure.json"))
    assert failure.kind == ("bad-input" if code == 2 else "trouble")
    assert lines[0].endswith(failure.message)
    stage_uri = spec.golden_uri if stage == "preprocess" else spec.captions_uri
    assert not objects.exists(f"{stage_uri}/manifest.json")


def take_snapshot(uri: str) -> dict[str, tuple[str, str]]:
    """The SHA-256 and the version of every object. A rewrite changes the version even if the bytes stay equal."""
    hashes = {}
    for entry in object_listing.iterate_entries(uri):
        hashes[entry.key] = hashlib.sha256(objects.read(f"{uri}/{entry.key}")).hexdigest(), entry.version
    return hashes


def hash_parts(uri: str) -> dict[str, str]:
    """The SHA-256 of every part of a stage."""
    return {key: sha for key, (sha, _) in take_snapshot(f"{uri}/parts").items()}


def read_rows(stage_uri: str) -> list[dict[str, Any]]:
    """All rows of a stage in the order of the golden set."""
    part_list = manifests.require_manifest(stage_uri, "stage").parts
    table = pa.concat_tables([parts.read(stage_uri, part.name) for part in part_list])
    table_rows: list[dict[str, Any]] = table.to_pylist()
    return table_rows


def read_rejects(spec: Spec) -> list[dict[str, Any]]:
    rejects: list[dict[str, Any]] = pq.read_table(
        io.BytesIO(objects.read(f"{spec.golden_uri}/rejects.parquet"))
    ).to_pylist()
    return rejects


def copy_golden_set(source: Spec, target: Spec) -> None:
    """Give a run below another root the golden set that a run has: over the same images it has the same id."""
    assert source.golden_uri.removeprefix(source.root) == target.golden_uri.removeprefix(target.root)
    shutil.copytree(source.golden_uri, target.golden_uri)


def read_captions(spec: Spec) -> dict[str, str]:
    return {row["image_id"]: row["caption"] for row in read_rows(spec.captions_uri)}


def assert_every_image_once(spec: Spec) -> None:
    """Images read = captioned + rejected + failed, by the manifests and by the files that they name."""
    golden, captions = manifests.require_manifest(spec.golden_uri, "golden"), manifests.load_manifest(spec.captions_uri)
    _assert_parts(spec.golden_uri, golden)
    rejects = len(read_rejects(spec))
    assert golden.rows_in == golden.rows_out + sum(golden.lost.values())
    assert rejects == sum(golden.lost.values())
    images = [row["image_id"] for row in read_rows(spec.golden_uri)]
    assert len(set(images)) == len(images) == golden.rows_out
    if captions is None:
        return
    _assert_parts(spec.captions_uri, captions)
    caption_rows = read_rows(spec.captions_uri)
    assert [row["image_id"] for row in caption_rows] == images
    assert sum(row["failure"] is None for row in caption_rows) == captions.rows_out
    assert golden.rows_in == captions.rows_out + sum(golden.lost.values()) + sum(captions.lost.values())
    assert all((row["caption"] is None) == (row["failure"] is not None) for row in caption_rows)
    if objects.exists(f"{spec.run_uri}/scores.json"):
        scores = Scores.model_validate_json(objects.read(f"{spec.run_uri}/scores.json"))
        table = pa.concat_tables([parts.read(spec.scores_uri, part.name) for part in scores.manifest.parts])
        assert table["image_id"].to_pylist() == images
        assert scores.scored == table["failure"].null_count
        assert scores.images == scores.scored + sum(scores.failed.values()) == len(images)


def _assert_parts(stage_uri: str, manifest: Manifest) -> None:
    folder = manifests.parts_folder_of(manifest)
    for part in manifest.parts:
        data = objects.read(manifests.uri_of_part(stage_uri, part.name, folder))
        assert parts.describe(part.name, data) == part
    assert manifests.list_part_names(stage_uri, folder) >= {part.name for part in manifest.parts}
