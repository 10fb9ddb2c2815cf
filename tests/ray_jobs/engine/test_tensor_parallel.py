"""A model spread over two processes, with Ray, vLLM, and tiny checkpoints whose heads divide by two."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from engine_drivers import caption_by_transformers, run_driver
from families import qwen2_5_vl
from forked_processes import find_actor
from ray_cluster import Cluster
from safetensors.torch import load_file, save_file
from stage_jobs import (
    DEMO,
    copy_golden_set,
    plan_spec,
    read_captions,
    run_stage,
    start_stage,
    wait_for_exit,
    wait_until,
)

from ray_jobs.contract.spec import Spec
from ray_jobs.storage import audits, manifests

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("forked_starts")]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three checkpoints of one layout."""
    place = tmp_path_factory.mktemp("two-heads")
    folders = [place / f"model-{number}" for number in range(3)]
    qwen2_5_vl(folders[0])
    weights = load_file(folders[0] / "model.safetensors")
    for number, folder in enumerate(folders[1:], 1):
        shutil.copytree(folders[0], folder)
        torch.manual_seed(number)
        moved = {name: weight + 0.1 * torch.randn_like(weight) for name, weight in weights.items()}
        save_file(moved, folder / "model.safetensors", metadata={"format": "pt"})
    return folders


def plan_parallel(folder: Path, model: Path, parallel: int, kind: str = "ray_data_llm") -> Spec:
    folder.mkdir(exist_ok=True)
    settings = {"kind": kind, "tensor_parallel_size": parallel}
    caption: dict[str, dict[str, Any]] = {"caption": {"max_tokens": 12}, "engine": settings}
    return plan_spec(folder, str(folder / "root"), str(model), str(DEMO / "images" / "photos"), **caption)


def of_vllm(cluster: Cluster) -> list[psutil.Process]:
    """vLLM's processes on the cluster: engines, and the workers of a model that is spread over several."""
    return cluster.processes("VLLM::")


@pytest.mark.usefixtures("plain_starts")
def test_two_processes_give_the_same_captions_and_end(on_cluster: Cluster, models: list[Path], tmp_path: Path) -> None:
    single, spread = [plan_parallel(tmp_path / f"over-{parallel}", models[0], parallel) for parallel in (1, 2)]
    run_stage("preprocess", single)
    copy_golden_set(single, spread)
    run_stage("caption", single)
    process = start_stage("caption", spread)
    wait_until(lambda: len(of_vllm(on_cluster)) == 3 or process.poll() is not None, 300)
    of_job = of_vllm(on_cluster)
    result = wait_for_exit(process)
    assert result.code == 0, result.output[-5000:]
    assert len(of_job) == 3, "an engine and two workers"
    assert read_captions(spread) == read_captions(single)
    assert len(set(read_captions(single).values())) > 10
    assert psutil.wait_procs(of_job, 60)[1] == []


def test_the_audit_of_captions_that_were_swapped_over_two_processes(
    on_cluster: Cluster, models: list[Path], tmp_path: Path
) -> None:
    first, second = [plan_parallel(tmp_path / "run", model, 2, "warm") for model in models[:2]]
    run_stage("preprocess", first)
    for spec in (first, second):
        run_stage("caption", spec)
    assert manifests.require_manifest(second.captions_uri, "caption").weights_swapped
    assert read_captions(first) != read_captions(second)
    run_stage("audit", second)
    report = audits.read(second.captions_uri)
    assert report
    assert (report.images, report.differing) == (len(read_captions(second)), 0)


def test_swapped_over_two_processes_captions_are_those_of_transformers(on_cluster: Cluster, models: list[Path]) -> None:
    """By the engine of the test before, if it is still there; it ends with its actor, and leaves no process."""
    expected = [caption_by_transformers(model) for model in models]
    assert len({tuple(texts) for texts in expected}) == 3
    order = [0, 1, 2, 0]
    runs = run_driver("spread", *(models[number] for number in order))
    assert [run["said"] for run in runs] == [expected[number] for number in order]
    swapped = "weights swapped and checked"
    assert runs[0]["told"] in ("started for this checkpoint", swapped)
    assert [run["told"] for run in runs[1:]] == [swapped] * 3

    processes = of_vllm(on_cluster)
    assert len(processes) == 3, "an engine and two workers"
    find_actor(on_cluster.engines()[0]).kill()
    assert psutil.wait_procs(processes, 30)[1] == []


def test_a_fault_on_one_rank_or_both_is_noticed(models: list[Path], tmp_path: Path) -> None:
    """The faults: a rank loads nothing, a layer is missing or stale, a share or a checkpoint is the wrong one."""
    folder, out = Path(__file__).parent, tmp_path / "found.json"
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(folder / "planted_weights.py"), str(models[0]), str(models[1]), str(out)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    result = wait_for_exit(subprocess.Popen(command, text=True, env=os.environ | {"PYTHONPATH": path}, **pipes))
    assert result.code == 0, result.output[-5000:]
    results = json.loads(out.read_text())
    assert len(results) == 70
    assert {name for name, proven in results.items() if proven is True} == {
        name for name in results if name[:4] == "good"
    }
