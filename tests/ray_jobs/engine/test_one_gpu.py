"""Two engines on a cluster with one GPU. The GPU is a number that Ray's node reports; what Ray does with it is real.

stage_beside_a_gpu.py names the stand-ins in the jobs.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray_cluster import Cluster, start_cluster
from stage_jobs import DEMO, ENGINE, GOOD, ProcessResult, plan_spec, wait_for_exit

pytestmark = pytest.mark.integration

JOB = Path(__file__).with_name("stage_beside_a_gpu.py")
JUDGE = {"kind": "vllm", "model": str(DEMO / "judge"), "prompt": "judge: {caption}", "max_tokens": 96}


@pytest.fixture
def one_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    with start_cluster({"ASSAY_CACHE": str(tmp_path / "checkpoints")}, gpus=1) as cluster:
        for name, value in cluster.environment.items():
            monkeypatch.setenv(name, value)
        yield cluster


def run_beside_a_gpu(stage: str, spec_uri: str) -> ProcessResult:
    job = subprocess.Popen(
        [sys.executable, str(JOB), stage, "--spec", spec_uri],
        env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        result = wait_for_exit(job, 240)
    finally:
        job.kill()
    assert result.code == 0, result.output[-5000:]
    return result


def test_two_checkpoints_with_a_judge_start_two_engines(one_gpu: Cluster, tmp_path: Path) -> None:
    scenes = {"source": str(DEMO / "images" / "scenes"), "limit": 8}
    engine: dict[str, Any] = ENGINE | {"keep_seconds": 600}
    outputs, golden_set = [], ""
    for checkpoint in (GOOD, GOOD.with_name("step-0840")):
        spec = plan_spec(
            tmp_path, str(tmp_path / "root"), str(checkpoint), str(scenes["source"]),
            dataset=scenes, engine=engine, judge=JUDGE | {"engine": engine},
        )  # fmt: skip
        golden_set = golden_set or run_beside_a_gpu("preprocess", spec.uri).output
        outputs += [run_beside_a_gpu(stage, spec.uri).output for stage in ("caption", "evaluate")]
        engines = {process.pid for process in one_gpu.engines()}
        assert len(engines) == 2, "an engine was evicted for the other"
    early = "engine: that of the {} starts early, with 0.45 GPU"
    assert early.format("captions") in golden_set
    assert [early.format("judge") in output for output in outputs] == [True, False, False, False]
    chosen = "engine: gpu_memory_utilization 0.45 for the captions and 0.45 for the judge are chosen"
    assert [output.count(chosen) for output in outputs] == [1] * 4
    assert ["engine: new, " in output for output in outputs] == [True, True, False, False]
    assert ["engine: warm, " in output for output in outputs] == [False, False, True, True]
