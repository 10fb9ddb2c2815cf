"""Find faults of a checkpoint in the headers of its weights, before a job asks for a GPU.

`inspect` calls this module in both planes, when it has read the headers anyway. Only faults that are certain for every
architecture are reported: a model that vLLM can load is never refused. vLLM checks the needs of an architecture itself
when it loads ("weights are missing: ...").
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ray_jobs.checkpoints.config_files import Config
from ray_jobs.checkpoints.safetensors_header import Tensor
from ray_jobs.inputs.names import printable

EMBEDDINGS = (
    "model.embed_tokens.weight", "model.language_model.embed_tokens.weight", "language_model.model.embed_tokens.weight",
)  # fmt: skip
HEADS = ("lm_head.weight", "language_model.lm_head.weight", "model.lm_head.weight")
FLOATS = {"F64", "F32", "F16", "BF16"}
WHOLE_NUMBERS = {"I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64"}
QUANTISED = (
    ".qweight", ".qzeros", ".weight_scale", ".weight_scale_inv", ".weight_packed", ".SCB", ".weight.absmax",
    ".weight.quant_map",
)  # fmt: skip
WRAPPERS = {  # parts of names that show that a trainer saved the state of a wrapper, not of the model
    "_fsdp_wrapped_module.": "FSDP's wrapper",
    "_orig_mod.": "torch.compile's wrapper",
    "_checkpoint_wrapped_module.": "a wrapper of activation checkpointing",
}
PREFIXES = {"module.": "a wrapper (DDP, DeepSpeed)", "base_model.model.": "PEFT's wrapper"}
NOT_GATHERED = (
    "saved without gathering (DeepSpeed ZeRO-3); set stage3_gather_16bit_weights_on_model_save in the DeepSpeed "
    "config, or run zero_to_fp32.py with --safe_serialization"
)


def find_misfit(config: Config, tensors: Mapping[str, Tensor], method: str | None) -> str | None:
    """Return the first fault and its remedy, in words that follow the checkpoint's URI, or None.

    `method` is the quantisation method, from the config or from a file beside it.
    """
    return next(_find_misfits(config, tensors, method), None)


def read_text_sizes(config: Config) -> tuple[int | None, int | None]:
    """Return the vocab_size and hidden_size of the language model. A size is None if the config does not set it."""
    text_config = config.text_config
    settings = (
        text_config if text_config is not None else {"vocab_size": config.vocab_size, "hidden_size": config.hidden_size}
    )
    return _read_count(settings.get("vocab_size")), _read_count(settings.get("hidden_size"))


def is_head_tied(config: Config) -> bool:
    """True if the config ties the head to the embeddings, both for the language model and for the whole model."""
    text_config = config.text_config
    is_tied = config.tie_word_embeddings if text_config is None else text_config.get("tie_word_embeddings")
    return is_tied is True and config.tie_word_embeddings is not False


def find_tied_head(config: Config, tensors: Mapping[str, Tensor]) -> tuple[str, str] | None:
    """Return the names of the embedding and the head if both are stored although the config ties them, else None.

    vLLM loads the embedding only.
    """
    if not is_head_tied(config):
        return None
    embedding = next((name for name in EMBEDDINGS if name in tensors), None)
    head = next((name for name in HEADS if name in tensors), None)
    return (embedding, head) if embedding and head else None


def _find_misfits(config: Config, tensors: Mapping[str, Tensor], method: str | None) -> Iterator[str]:
    for name, tensor in tensors.items():
        if 0 in tensor["shape"] and (method is None or name.endswith((".weight", ".bias"))):
            yield f"{printable(name, 120)} is of shape {tensor['shape']}: {NOT_GATHERED}"
    yield from _find_wrappers(tensors)
    yield from _find_resized_embeddings(config, tensors)
    yield from _find_quantization_faults(method, tensors)


def _find_wrappers(tensors: Mapping[str, Tensor]) -> Iterator[str]:
    for mark, wrapper in WRAPPERS.items():
        if name := next((name for name in tensors if mark in name), None):
            yield f"{printable(name, 120)} is saved from inside {wrapper}; save the unwrapped model (save_pretrained)"
    for prefix, wrapper in PREFIXES.items():
        if tensors and all(name.startswith(prefix) for name in tensors):
            remedy = "merge the adapter (merge_and_unload)" if "base_model" in prefix else "unwrap the model (.module)"
            yield f"every tensor begins with {prefix!r}, {wrapper}; {remedy} and save it with save_pretrained"


def _find_resized_embeddings(config: Config, tensors: Mapping[str, Tensor]) -> Iterator[str]:
    rows, width = read_text_sizes(config)
    for name in EMBEDDINGS:
        tensor = tensors.get(name)
        if tensor is None or tensor["dtype"] not in FLOATS or len(tensor["shape"]) != 2:
            continue
        if rows and tensor["shape"][0] != rows:
            yield (
                f"{name} has {tensor['shape'][0]} rows, and config.json says vocab_size {rows}: the embeddings were "
                "resized, and the config is another's; save the two together (save_pretrained)"
            )
        if width and tensor["shape"][1] != width:
            yield (
                f"{name} is {tensor['shape'][1]} wide, and config.json says hidden_size {width}: the config is of "
                "another model; save the two together (save_pretrained)"
            )


def _find_quantization_faults(method: str | None, tensors: Mapping[str, Tensor]) -> Iterator[str]:
    if method is None:
        if name := next((name for name in tensors if name.endswith(QUANTISED)), None):
            yield (
                f"{printable(name, 120)} is of quantised weights, and config.json has no quantization_config; save the "
                "two together, or save the model as it was before"
            )
        for name, tensor in tensors.items():
            if tensor["dtype"] in WHOLE_NUMBERS and name.endswith(".weight") and math.prod(tensor["shape"]) > 1:
                yield (
                    f"{printable(name, 120)} is {tensor['dtype']}, and config.json has no quantization_config; save "
                    "the two together, or save the model in bfloat16"
                )
        return
    is_packed = any(name.endswith(".qweight") for name in tensors)
    is_8_bit = any(tensor["dtype"].startswith("F8") for tensor in tensors.values())
    if (method in ("gptq", "awq") and not is_packed) or (method == "fp8" and not is_8_bit):
        yield (
            f"config.json says that its weights are quantised ({method}), and none of them is; take "
            "quantization_config out of it, or save the quantised weights"
        )


def _read_count(value: Any) -> int | None:
    return value if type(value) is int and value > 0 else None
