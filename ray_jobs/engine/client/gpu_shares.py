"""Lets the captions' engine and the judge's share the cluster's only GPU, so that neither ends for the other.

The drivers of `caption` and `evaluate` call it, and both get the same answer. It looks at the cluster, and at both
models in the store; `chosen_shares.py` chooses. A fault of this is only logged: the engines have the GPU in turn.
"""

import logging
from contextlib import suppress
from typing import NamedTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ray_jobs.checkpoints.config_files import read_json
from ray_jobs.checkpoints.weights import list_loaded
from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.spec import Checkpoint, Spec
from ray_jobs.engine import gpus
from ray_jobs.engine.chosen_settings import ModelSizes, Workload, compute_sizes, expect_workload
from ray_jobs.engine.chosen_shares import EngineNeed, choose_shares
from ray_jobs.engine.client.warm import why_not_warm

log = logging.getLogger("assay")

LOOK_SECONDS = 60.0  # within which the node of the GPU must say how much memory it has


class EngineSettings(NamedTuple):
    """The settings with which a job starts or finds the engine of the captions, and that of a judge on a GPU."""

    captions: Engine
    judge: Engine


def expect_captions(spec: Spec) -> Workload:
    """What the requests of the spec's captions are like."""
    caption = spec.suite.caption
    return expect_workload(spec.suite.preprocess, caption.prompt, caption.max_tokens)


def expect_questions(spec: Spec) -> Workload:
    """What the judge's questions about the spec's captions are like."""
    judge = spec.suite.judge
    return expect_workload(spec.suite.preprocess, judge.prompt or "", judge.max_tokens)


def share_gpu(spec: Spec) -> EngineSettings:
    """The engines' settings, with shares of the GPU if this cluster has one GPU and the suite leaves a share out.

    The suite's own shares stay. No id changes, because no id contains a share. The caller has joined the cluster.
    """
    captions, judge = spec.suite.engine, spec.suite.judge.engine
    settings = EngineSettings(captions, judge)
    if spec.suite.judge.kind != "vllm" or not spec.judge or not all(map(_is_for_sharing, settings)):
        return settings
    if captions.gpu_memory_utilization and judge.gpu_memory_utilization:
        return settings
    if not gpus.has_gpus() or gpus.count_gpus() != 1:
        return settings
    try:
        if why_not_warm(spec.checkpoint, captions) or why_not_warm(spec.judge, judge):
            return settings
        needs = (
            EngineNeed(captions, expect_captions(spec), _read_sizes(spec.checkpoint, captions)),
            EngineNeed(judge, expect_questions(spec), _read_sizes(spec.judge, judge)),
        )
        gpu_bytes = _ask_gpu_bytes()
    except Exception as error:  # the job that meets the same fault again says it
        log.warning("engine: shares of the GPU are not chosen: %s", " ".join(str(error).split())[:300])
        return settings
    if gpu_bytes is None:
        log.info("engine: shares of the GPU are not chosen: its node does not say how much memory it has")
        return settings
    captions, judge, line = choose_shares(*needs, gpu_bytes)
    log.info("engine: %s", line)
    return EngineSettings(captions, judge)


def _is_for_sharing(engine: Engine) -> bool:
    """Whether a share can be chosen for an engine with these settings: one warm engine on one GPU."""
    is_warm = engine.kind == "warm" and not engine.quantization
    return is_warm and engine.replicas == 1 and engine.tensor_parallel_size == 1


def _read_sizes(checkpoint: Checkpoint, engine: Engine) -> ModelSizes | None:
    """The sizes of a checkpoint in the store. An adapter's are those of its base, because it is merged into it."""
    uri = (checkpoint.base or checkpoint).uri
    stored = sum(entry.size for entry in list_loaded(uri) if entry.key.endswith(".safetensors"))
    return compute_sizes(read_json(f"{uri}/config.json", uri), stored, engine)


def _ask_gpu_bytes() -> int | None:
    """The memory of the cluster's GPU. None if no node with a GPU is up, or if the node does not say it.

    The task takes no GPU from Ray, so it also runs beside an engine.
    """
    node = next((node for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU")), None)
    if node is None:
        return None
    here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    task = ray.remote(read_gpu_bytes).options(num_cpus=0, num_gpus=0, max_retries=0, scheduling_strategy=here)
    reference = task.remote()
    if not ray.wait([reference], timeout=LOOK_SECONDS)[0]:
        ray.cancel(reference, force=True)
        return None
    memory: int | None = ray.get(reference)
    return memory


def read_gpu_bytes() -> int | None:
    """The memory of the smallest GPU of this node, in bytes. None if NVIDIA's driver does not say it, or cuts it up."""
    from ray._private.thirdparty import pynvml

    with suppress(Exception):
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]
        if not any(map(_is_cut_up, handles)):
            return min(int(pynvml.nvmlDeviceGetMemoryInfo(handle).total) for handle in handles)
    return None


def _is_cut_up(handle: object) -> bool:
    """Whether the GPU is partitioned (MIG), so that a process has only some of its memory."""
    from ray._private.thirdparty import pynvml

    with suppress(pynvml.NVMLError):  # most GPUs cannot be
        return bool(pynvml.nvmlDeviceGetMigMode(handle)[0])
    return False
