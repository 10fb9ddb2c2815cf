"""vLLM's settings for the engine section of a suite, the same for every way to run it."""

from typing import Any

from ray_jobs.contract.suite import Engine
from ray_jobs.engine.config_overrides import make_runnable
from ray_jobs.engine.vision_padding import pad_vision_mlp

WARM_ARGUMENTS = {  # what a warm engine has beside: its way to read weights, and to prove them
    "load_format": "assay",
    "hf_overrides": pad_vision_mlp,
    "worker_extension_cls": "ray_jobs.engine.vllm_plugin.worker.WorkerExtension",
}
# Unless told, vLLM takes consolidated*.safetensors, params.json and Mistral's tokenizer where they lie beside the files
# that were checked, probed and compared.
FILE_FORMATS = {"load_format": "safetensors", "config_format": "hf", "tokenizer_mode": "hf"}
GPU_RENDERERS = 4  # processes beside a GPU's engine
MAX_VLLM_GRAPHS = 512  # sequences that vLLM captures graphs for at most (1,024 on some GPUs)


def vllm_arguments(engine: Engine, gpu: bool) -> dict[str, Any]:
    """Keyword arguments of vLLM's EngineArgs, the model left out."""
    found: dict[str, Any] = {
        "dtype": engine.dtype,
        "max_model_len": engine.max_model_len,
        "max_num_seqs": engine.max_num_seqs,
        "max_num_batched_tokens": max(engine.max_num_batched_tokens, engine.max_model_len),
        "tensor_parallel_size": engine.tensor_parallel_size,
        "enforce_eager": engine.enforce_eager,
        "quantization": engine.quantization,
        "hf_overrides": make_runnable,
        **FILE_FORMATS,
        "limit_mm_per_prompt": {"image": 1, "video": 0},
        "mm_processor_cache_gb": 0,  # every image is new: a cache would only cost memory and hashing
        "enable_prefix_caching": False,
    }
    if gpu:
        # vLLM compiles the language model only, unless told to: an eager vision encoder takes half of the GPU's time
        compiled = {} if engine.enforce_eager else {"compilation_config": {"compile_mm_encoder": True}}
        return found | compiled | {"gpu_memory_utilization": engine.gpu_memory_utilization}
    return found | {"distributed_executor_backend": "mp" if engine.tensor_parallel_size > 1 else "uni"}


def build_warm_config(engine: Engine, gpu: bool, model: str) -> Any:
    """vLLM's config of a warm engine. Raises what vLLM raises for a model that it cannot run."""
    from vllm import AsyncEngineArgs
    from vllm.usage.usage_lib import UsageContext

    asked = vllm_arguments(engine, gpu) | WARM_ARGUMENTS
    if "compilation_config" in asked and engine.max_num_seqs > MAX_VLLM_GRAPHS:
        # beside so many a step with an image is too large for any graph of vLLM's, and for one without it has none
        asked["compilation_config"] |= {
            "cudagraph_mode": "FULL_DECODE_ONLY", "cudagraph_capture_sizes": _graph_sizes(engine.max_num_seqs)
        }  # fmt: skip
    config = AsyncEngineArgs(model=model, trust_remote_code=False, **asked).create_engine_config(
        UsageContext.ENGINE_CONTEXT
    )
    if config.scheduler_config.async_scheduling:
        # Images are kept until their step is over, and two steps are under way at once: with room for those of one, as
        # vLLM has it, every other step is short of images.
        config.scheduler_config.encoder_cache_size *= 2
    return config


def _graph_sizes(most: int) -> list[int]:
    """Numbers of sequences that a CUDA graph is captured for, more than GRAPHS: fewer run in the next larger one.

    Up to GRAPHS they are vLLM's own.
    """
    sizes = [1, 2, 4, *range(8, 256, 8), *range(256, MAX_VLLM_GRAPHS, 16), *range(MAX_VLLM_GRAPHS, most, 64)]
    return [*sizes, most]


def count_renderers(engine: Engine, gpu: bool) -> int:
    """How many processes render for an engine: on a CPU, whose model is slower than a thread, none unless told."""
    return engine.renderers if engine.renderers is not None else GPU_RENDERERS if gpu else 0


def max_tasks_rendering(engine: Engine, gpu: bool) -> int:
    """Tasks that are rendered for an engine at once: one a process, and two at least, for one is read meanwhile."""
    return max(2, count_renderers(engine, gpu))


def engine_environment(gpu: bool) -> dict[str, str]:
    """Variables of the engine's process."""
    found = {"VLLM_LOGGING_LEVEL": "WARNING"}
    if gpu:
        return found
    return found | {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        # starts no third process beside actor and engine, which would take seconds to import vLLM once more
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        # the processes of a model that is spread over several share cores: vLLM wants a NUMA node for each
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        # Unless told, oneDNN keeps the last 1,024 shapes of a matrix product, some 285 KB each, and batches of all
        # sizes make ever new ones. vLLM itself holds the last 32 sizes for each shape of weights.
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
    }
