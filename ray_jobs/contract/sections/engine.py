"""The section `engine` of a suite: the settings of vLLM. A judge of kind `vllm` has them too."""

from typing import ClassVar, Literal

from pydantic import Field

from ray_jobs.contract.suite_section import SuiteSection

DEFAULT_SHARE = 0.9  # of a GPU's memory: vLLM does not count the CUDA contexts, nor Assay the images of a second step
MAX_SHARED = 0.5  # an engine with a larger share takes a whole GPU from Ray


class Engine(SuiteSection):
    """How vLLM runs. Only `dtype`, `max_model_len` and `quantization` change captions, so only they enter an id."""

    IDENTIFYING: ClassVar = frozenset(("dtype", "max_model_len", "quantization"))
    ELSEWHERE: ClassVar = {
        "kind": "both kinds of engine give the same captions",
        "keep_seconds": "what happens after the job",
        "audit": "checks captions that are there",
        "max_num_seqs": "speed",
        "max_num_batched_tokens": "speed",
        "tensor_parallel_size": "speed",
        "replicas": "speed",
        "renderers": "speed",
        "gpu_memory_utilization": "speed",
        "enforce_eager": "speed",
        "base_model": "the checkpoint's fingerprint covers its base",
    }

    kind: Literal["warm", "ray_data_llm"] = "warm"
    """`warm` keeps the vLLM engine for the next checkpoint; `ray_data_llm` starts one engine per job."""
    keep_seconds: float = Field(900.0, ge=0)
    """How long a warm engine waits for the next job before it ends, in seconds."""
    audit: int = Field(64, ge=0)
    """How many captions of a warm engine a fresh engine makes again at night; 0 for none."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """The arithmetic of the model. `auto` takes that of the checkpoint's config."""
    max_model_len: int = Field(4096, gt=0)
    """The most tokens of prompt, image and answer together."""
    quantization: str | None = None
    """How vLLM quantises whole weights as it loads them. Quantised checkpoints do not need it."""
    max_num_seqs: int | None = Field(None, gt=0)
    """How many requests vLLM runs at once. By default a warm engine chooses by the model, the suite and the GPU."""
    max_num_batched_tokens: int | None = Field(None, gt=0)
    """How many tokens vLLM computes in one step; at least `max_model_len`. The default is chosen likewise."""
    tensor_parallel_size: int = Field(1, gt=0)
    """How many GPUs one model is spread over."""
    replicas: int = Field(1, gt=0)
    """How many engines one job uses at once."""
    renderers: int | None = Field(None, ge=0)
    """How many processes prepare images beside an engine. The default is 4 with a GPU and 0 without."""
    gpu_memory_utilization: float | None = Field(None, gt=0, le=1)
    """The share of a GPU's memory that one engine may take. With at most 0.5, two engines share a GPU. The default is
    0.9, or less if the captions' engine and the judge's have one GPU."""
    enforce_eager: bool = False
    """No compilation and no CUDA graphs; for tiny models."""
    base_model: str | None = None
    """The URI of the model that LoRA adapters change, for adapters whose own config names only a model on a hub."""

    @property
    def gpus(self) -> float:
        """The GPUs that one engine takes from Ray. Below 1, two engines share a GPU."""
        if self.tensor_parallel_size > 1:
            return self.tensor_parallel_size
        return 1.0 if self.gpu_share > MAX_SHARED else self.gpu_share

    @property
    def gpu_share(self) -> float:
        """The share of a GPU's memory that one engine takes, from 0 to 1."""
        return self.gpu_memory_utilization or DEFAULT_SHARE
