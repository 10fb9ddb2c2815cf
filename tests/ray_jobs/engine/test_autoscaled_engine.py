"""A GPU group that starts at zero, as in the chart: Ray's autoscaler starts the node and ends it.

Real: Ray's autoscaler, its nodes' processes, the jobs, vLLM's engine on its CPU backend. Stood in for: the cloud, by
Ray's fake provider, whose nodes are processes of this machine; and the GPU, which is a number that the node tells Ray.
stage_beside_a_gpu.py says what that changes in the captioning job.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from ray_cluster import Cluster, start_cluster
from stage_jobs import (
    DEMO,
    ENGINE,
    GOOD,
    assert_every_image_once,
    plan_spec,
    read_captions,
    run_stage,
    wait_for_exit,
    wait_until,
)

pytestmark = pytest.mark.integration

JOB = Path(__file__).with_name("stage_beside_a_gpu.py")


@pytest.fixture
def autoscaling_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head without a GPU, and at most one node with one, started on demand. The test's jobs join this cluster."""
    settings = {"ASSAY_CACHE": str(tmp_path / "checkpoints"), "ASSAY_GPU": "1"}
    with start_cluster(settings, starts={"gpu": {"CPU": 1, "GPU": 1}}) as cluster:
        for name, value in cluster.environment.items():
            monkeypatch.setenv(name, value)
        yield cluster


def nodes(cluster: Cluster) -> set[psutil.Process]:
    """One process for each of Ray's nodes, the head included."""
    return set(cluster.processes("raylet/raylet"))


def test_a_cluster_scales_from_zero_captions_and_scales_back(autoscaling_cluster: Cluster, tmp_path: Path) -> None:
    scenes = {"source": str(DEMO / "images" / "scenes"), "limit": 12}
    spec = plan_spec(
        tmp_path, str(tmp_path / "root"), str(GOOD), str(scenes["source"]),
        dataset=scenes, engine=ENGINE | {"keep_seconds": 3},
    )  # fmt: skip
    run_stage("preprocess", spec)
    head = nodes(autoscaling_cluster)
    assert len(head) == 1, "images need no GPU"

    job = subprocess.Popen(
        [sys.executable, str(JOB), "caption", "--spec", spec.uri],
        env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        wait_until(lambda: autoscaling_cluster.engine() is not None or job.poll() is not None, 240, every=0.2)
        engine, appeared = autoscaling_cluster.engine(), nodes(autoscaling_cluster) - head
        above = engine.parents() if engine else []  # now, because the engine will be gone soon
        result = wait_for_exit(job, 120)
    finally:
        job.kill()
    assert result.code == 0, result.output[-5000:]
    assert len(appeared) == 1
    assert appeared <= set(above), "the engine is not on the node that appeared"
    assert_every_image_once(spec)
    assert len(read_captions(spec)) == 12
    assert all(read_captions(spec).values())

    # The engine waits three seconds for another job, then the node is idle, for three seconds too.
    wait_until(lambda: nodes(autoscaling_cluster) == head and not autoscaling_cluster.engines(), 120, every=0.2)
