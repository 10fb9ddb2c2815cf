"""Starts vLLM and the processes that render for it, and tells where the seconds go. The actor calls it."""

import os
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from ray_jobs.checkpoints.node_cache import find_weights_folder
from ray_jobs.checkpoints.verification import verify
from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.engine.bounded_calls import run_limited
from ray_jobs.engine.chosen_settings import Workload, choose_settings, read_model_sizes
from ray_jobs.engine.compatibility import TensorLayout, tensor_layout
from ray_jobs.engine.compile_cache import open_compile_cache
from ray_jobs.engine.engine_folder import use_engine_folder
from ray_jobs.engine.errors import OutputTee
from ray_jobs.engine.prompt import PromptBuilder
from ray_jobs.engine.server.checkpoint_files import CheckpointFiles
from ray_jobs.engine.server.renderers import RendererPool
from ray_jobs.engine.server.telemetry import read_gpu_bytes, vllm_stat_loggers
from ray_jobs.engine.settings import build_warm_config, count_renderers


class StartClock:
    """The seconds of each phase of a start, in their order. `began` is in seconds since the epoch."""

    def __init__(self) -> None:
        self.began, self._last = time.time(), time.monotonic()
        self.seconds: dict[str, float] = {}

    def end_phase(self, phase: str) -> None:
        """Note the seconds since the end of the phase before."""
        now = time.monotonic()
        self.seconds[phase], self._last = now - self._last, now

    def describe(self) -> str:
        """One line, such as `71.3 s: imports 25.9, vLLM 45.4`."""
        phases = ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in self.seconds.items())
        return f"{sum(self.seconds.values()):.1f} s: {phases}"


class StartedVllm(NamedTuple):
    """vLLM's engine with the checkpoint's weights, its renderers, and facts about the checkpoint.

    `engine` has the settings with which vLLM runs, and `choice` is a line about those that the suite left out.
    """

    llm: Any
    renderers: RendererPool
    prompts: PromptBuilder
    tensor_layout: TensorLayout
    engine: Engine
    choice: str


def start_vllm(
    checkpoint: Checkpoint,
    engine: Engine,
    has_gpu: bool,
    workload: Workload,
    files: CheckpointFiles,
    output_tee: OutputTee,
    clock: StartClock,
) -> StartedVllm:
    """Start vLLM once the files are on this node. Its processes print through `output_tee`.

    Raises InputError for a fault of the files, and RuntimeError with vLLM's last words if vLLM does not start.
    """
    from vllm.v1.engine.async_llm import AsyncLLM

    from ray_jobs.engine.vllm_plugin.compile_key import compile_for_any_checkpoint

    path = files.copying.result()
    weights_folder = find_weights_folder(checkpoint, path)
    layout = tensor_layout(weights_folder)
    sizes = read_model_sizes(path, Path(weights_folder), engine)
    engine, choice = choose_settings(engine, workload, sizes, read_gpu_bytes() if has_gpu else None)
    prompts = run_limited(lambda: PromptBuilder(path, checkpoint.uri), checkpoint.uri)
    cache = open_compile_cache(checkpoint, engine, _describe_gpu() if has_gpu else None)
    if cache:
        os.environ.update(cache.environment())  # vLLM's processes inherit it
        cache.restore()
    clock.end_phase("files")
    use_engine_folder()
    try:
        with output_tee.capture_children():
            config = build_warm_config(engine, has_gpu, str(path))
            compile_for_any_checkpoint(config)
            clock.end_phase("config")
            renderers = RendererPool(count_renderers(engine, has_gpu), path, checkpoint.uri, config)
            llm = AsyncLLM.from_vllm_config(config, stat_loggers=vllm_stat_loggers())
    except Exception as error:
        verify(checkpoint)  # if the checkpoint was overwritten meanwhile, that is the cause
        raise RuntimeError(f"{error}\n{output_tee.last_exception(wait=5)}") from error
    clock.end_phase("vLLM")
    renderers.start(prompts, llm.renderer)
    clock.end_phase("renderers")
    if cache:
        threading.Thread(target=cache.share, daemon=True, name="compile-cache").start()
    return StartedVllm(llm, renderers, prompts, layout, engine, choice)


def _describe_gpu() -> str | None:
    """The GPU and the CUDA that code is compiled for; None if vLLM runs on something else. Does not start CUDA."""
    import torch
    from vllm.platforms import current_platform

    if not current_platform.is_cuda():
        return None
    return f"{current_platform.get_device_name()} {current_platform.get_device_capability()} {torch.version.cuda}"
