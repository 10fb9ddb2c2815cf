"""Chooses how many requests vLLM runs at once, and how many tokens it computes per step, if the suite leaves them out.

The actor calls `choose_settings` before it starts vLLM. The drivers call `max_sequences` for their queues.

Sequences on a GPU: as many as have room, at most MAX_SEQUENCES. Each needs memory for the keys and values of its
prompt, its image and its answer. On an H200 more sequences were no faster over a whole job (benchmarks/LOG.md).

Tokens per step on a GPU: a step should encode as many new images as captions end in it. Of S sequences with answers of
C tokens, S / C end per step, and each new one brings a prompt of P tokens: that makes S x (1 + P / C) tokens. With
fewer than MANY_SEQUENCES, vLLM's own process hides less behind a step, and the largest steps were faster.

On a CPU the values are constants, because there the model is slower than all that is around it.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.sections.preprocess import Preprocess

DEFAULT_SEQUENCES, DEFAULT_STEP_TOKENS = 256, 16384  # on a CPU, and where the sizes of the model are not known
MAX_SEQUENCES, MANY_SEQUENCES = 1024, 768
MIN_SEQUENCES, MIN_STEP_TOKENS, TOKENS_STEP = 8, 4096, 1024
RESERVED_BYTES = 6 << 30  # of a GPU: activations, CUDA graphs, and the images of the second step in flight
FP8_SHARE = 0.6  # of the weights' bytes that are left if vLLM quantises them; embeddings stay as they are


@dataclass(frozen=True)
class Workload:
    """What a request is expected to be like: the tokens of its prompt with the image, and of its answer."""

    prompt_tokens: int = 300
    answer_tokens: int = 64


EXPECTED = Workload()
CHAT_TOKENS, CHARACTERS_PER_TOKEN = 30, 4  # of the chat template; of English text


@dataclass(frozen=True)
class ModelSizes:
    """The bytes of a model's weights, and of the keys and values of one token."""

    weight_bytes: int
    bytes_per_token: int


def expect_workload(preprocess: Preprocess, text: str, answer_tokens: int) -> Workload:
    """What requests with this text and the largest golden images are like. An image has a token per patch."""
    image = preprocess.max_pixels // preprocess.patch**2
    return Workload(image + len(text) // CHARACTERS_PER_TOKEN + CHAT_TOKENS, answer_tokens)


def max_sequences(engine: Engine, has_gpu: bool) -> int:
    """The most requests that an engine with these settings may run at once."""
    return engine.max_num_seqs or (MAX_SEQUENCES if has_gpu else DEFAULT_SEQUENCES)


def choose_settings(
    engine: Engine, workload: Workload, sizes: ModelSizes | None, gpu_bytes: int | None
) -> tuple[Engine, str]:
    """The engine's settings with both numbers, and one line that explains the choice.

    `gpu_bytes` is the memory of one GPU; None on a CPU. The line is empty there, and if the suite has both numbers.
    """
    if not gpu_bytes or (engine.max_num_seqs and engine.max_num_batched_tokens):
        return engine, ""
    if not sizes:
        sequences, tokens = engine.max_num_seqs or DEFAULT_SEQUENCES, DEFAULT_STEP_TOKENS
        reason = "the model's config does not say what a token takes"
    else:
        sequences = engine.max_num_seqs or _count_sequences(engine, workload, sizes, gpu_bytes)
        tokens = _count_step_tokens(sequences, workload)
        reason = (
            f"a request takes {workload.prompt_tokens} + {workload.answer_tokens} tokens of "
            f"{sizes.bytes_per_token / 1000:.0f} kB, beside {sizes.weight_bytes / 1e9:.1f} GB of weights, "
            f"on {engine.tensor_parallel_size} x {gpu_bytes / 1e9:.0f} GB"
        )
    tokens = engine.max_num_batched_tokens or max(tokens, engine.max_model_len)
    chosen = engine.model_copy(update={"max_num_seqs": sequences, "max_num_batched_tokens": tokens})
    return chosen, f"max_num_seqs {sequences} and max_num_batched_tokens {tokens} are chosen: {reason}"


def read_model_sizes(folder: Path, weights_folder: Path, engine: Engine) -> ModelSizes | None:
    """The sizes of the model whose config is in `folder`; None if the config does not say them."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return None
    return compute_sizes(config, sum(file.stat().st_size for file in weights_folder.glob("*.safetensors")), engine)


def compute_sizes(config: Any, stored_bytes: int, engine: Engine) -> ModelSizes | None:
    """The sizes of the model with this config and this size of its stored weights; None if the config has no sizes."""
    try:
        text: dict[str, Any] = config.get("text_config") or config
        heads = text["num_attention_heads"]
        width = text.get("head_dim") or text["hidden_size"] // heads
        values = 2 * text["num_hidden_layers"] * (text.get("num_key_value_heads") or heads) * width
    except (KeyError, TypeError, AttributeError, ZeroDivisionError):
        return None
    dtype = str(text.get("dtype") or config.get("dtype") or config.get("torch_dtype"))
    bytes_each = 4 if (dtype if engine.dtype == "auto" else engine.dtype) == "float32" else 2
    return ModelSizes(int(stored_bytes * (FP8_SHARE if engine.quantization else 1)), values * bytes_each)


def count_room(engine: Engine, workload: Workload, sizes: ModelSizes, gpu_bytes: int) -> int:
    """How many requests have room for their keys and values at once. Below 0 if the weights have no room."""
    memory = engine.gpu_share * gpu_bytes - RESERVED_BYTES
    room = memory * engine.tensor_parallel_size - sizes.weight_bytes
    tokens = min(engine.max_model_len, workload.prompt_tokens + workload.answer_tokens)
    return int(room / (tokens * sizes.bytes_per_token))


def _count_sequences(engine: Engine, workload: Workload, sizes: ModelSizes, gpu_bytes: int) -> int:
    count = min(MAX_SEQUENCES, count_room(engine, workload, sizes, gpu_bytes))
    return max(MIN_SEQUENCES, count - count % (64 if count > 64 else 8))


def _count_step_tokens(sequences: int, workload: Workload) -> int:
    if sequences < MANY_SEQUENCES:
        return DEFAULT_STEP_TOKENS
    balanced = sequences * (1 + workload.prompt_tokens / workload.answer_tokens)
    return min(DEFAULT_STEP_TOKENS, max(MIN_STEP_TOKENS, TOKENS_STEP * -(-int(balanced) // TOKENS_STEP)))
