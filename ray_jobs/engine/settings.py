"""Translates the engine section of a suite into vLLM's settings, the same for warm, cold and audit's engines.

The driver and the actor call it. vLLM's own process imports it for the names of the loader.
"""

from typing import Any

from ray_jobs.contract.sections.engine import Engine
from ray_jobs.engine.chosen_settings import DEFAULT_SEQUENCES, DEFAULT_STEP_TOKENS
from ray_jobs.engine.config_overrides import make_runnable
from ray_jobs.engine.vision_padding import pad_vision_mlp

WARM_ARGUMENTS = {  # only a warm engine has these: they load weights and prove which weights are loaded
    "load_format": "assay",
    "hf_overrides": pad_vision_mlp,
    "worker_extension_cls": "ray_jobs.engine.vllm_plugin.worker.WorkerExtension",
}
# By default vLLM prefers consolidated*.safetensors, params.json and Mistral's tokenizer if they are in the checkpoint.
# But other files were checked, probed and compared.
FILE_FORMATS = {"load_format": "safetensors", "config_format": "hf", "tokenizer_mode": "hf"}
GPU_RENDERERS = 4  # renderer processes of an engine on a GPU
MAX_VLLM_GRAPHS = 512  # the largest number of sequences that vLLM captures a CUDA graph for (1,024 on some GPUs)


def vllm_arguments(engine: Engine, has_gpu: bool) -> dict[str, Any]:
    """Keyword arguments of vLLM's EngineArgs, without the model."""
    arguments: dict[str, Any] = {
        "dtype": engine.dtype,
        "max_model_len": engine.max_model_len,
        "max_num_seqs": engine.max_num_seqs or DEFAULT_SEQUENCES,
        "max_num_batched_tokens": max(engine.max_num_batched_tokens or DEFAULT_STEP_TOKENS, engine.max_model_len),
        "tensor_parallel_size": engine.tensor_parallel_size,
        "enforce_eager": engine.enforce_eager,
        "quantization": engine.quantization,
        "hf_overrides": make_runnable,
        **FILE_FORMATS,
        "limit_mm_per_prompt": {"image": 1, "video": 0},
        "mm_processor_cache_gb": 0,  # every image is new, so a cache would only cost memory and hashing
        "enable_prefix_caching": False,
    }
    if has_gpu:
        # By default vLLM compiles only the language model. A vision encoder in eager mode takes half of the GPU's time.
        compiled = {} if engine.enforce_eager else {"compilation_config": {"compile_mm_encoder": True}}
        return arguments | compiled | {"gpu_memory_utilization": engine.gpu_share}
    return arguments | {"distributed_executor_backend": "mp" if engine.tensor_parallel_size > 1 else "uni"}


def build_warm_config(engine: Engine, has_gpu: bool, path: str) -> Any:
    """vLLM's config of a warm engine with the checkpoint at `path`. Raises vLLM's error for a model it cannot run."""
    from vllm import AsyncEngineArgs
    from vllm.usage.usage_lib import UsageContext

    arguments = vllm_arguments(engine, has_gpu) | WARM_ARGUMENTS
    if compilation := choose_compilation(engine, has_gpu):
        arguments["compilation_config"] = compilation
    config = AsyncEngineArgs(model=path, trust_remote_code=False, **arguments).create_engine_config(
        UsageContext.ENGINE_CONTEXT
    )
    if config.scheduler_config.async_scheduling:
        # vLLM keeps images until their step has ended, and two steps run at once. vLLM's cache has room for the images
        # of one step, so every other step would be short of images.
        config.scheduler_config.encoder_cache_size *= 2
    return config


def choose_compilation(engine: Engine, has_gpu: bool) -> dict[str, Any]:
    """What vLLM compiles, and the CUDA graphs that it captures, of a warm engine: vLLM's `compilation_config`."""
    compilation: dict[str, Any] = dict(vllm_arguments(engine, has_gpu).get("compilation_config", {}))
    if compilation and (sequences := engine.max_num_seqs or DEFAULT_SEQUENCES) > MAX_VLLM_GRAPHS:
        # With so many sequences, a step with an image is too large for any of vLLM's graphs. And vLLM has no graph of
        # that size for a step without an image.
        compilation |= {
            "cudagraph_mode": "FULL_DECODE_ONLY", "cudagraph_capture_sizes": _graph_sizes(sequences)
        }  # fmt: skip
    return compilation


def _graph_sizes(most: int) -> list[int]:
    """The numbers of sequences that vLLM captures a CUDA graph for. Other numbers run in the next larger graph.

    Up to MAX_VLLM_GRAPHS they are vLLM's own. Up to `most` we add every 64th.
    """
    sizes = [1, 2, 4, *range(8, 256, 8), *range(256, MAX_VLLM_GRAPHS, 16), *range(MAX_VLLM_GRAPHS, most, 64)]
    return [*sizes, most]


def count_renderers(engine: Engine, has_gpu: bool) -> int:
    """The number of processes that render for an engine. The default on a CPU is 0, because there the model is slower
    than a thread that renders."""
    return engine.renderers if engine.renderers is not None else GPU_RENDERERS if has_gpu else 0


def max_tasks_rendering(engine: Engine, has_gpu: bool) -> int:
    """The number of tasks that are rendered for an engine at once: one per process.

    At least two, because one task is read while another is rendered.
    """
    return max(2, count_renderers(engine, has_gpu))


def engine_environment(engine: Engine, has_gpu: bool) -> dict[str, str]:
    """Environment variables of the engine's process."""
    variables = {"VLLM_LOGGING_LEVEL": "WARNING"}
    if has_gpu:
        return variables
    if engine.enforce_eager:
        # vLLM compiles the count of likelier tokens even then. The first engine of a machine waits for a C++ compiler.
        variables |= {"TORCH_COMPILE_DISABLE": "1"}
    return variables | {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        # so that vLLM starts no third process beside actor and engine, which would take seconds to import vLLM again
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        # vLLM wants one NUMA node per process of a model that is spread over several; here they share the cores
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        # By default oneDNN keeps the last 1,024 shapes of a matrix product, about 285 KB each. Batches of all sizes
        # keep making new shapes. vLLM itself keeps the last 32 sizes for each shape of weights.
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
    }
