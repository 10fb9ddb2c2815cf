"""Weights that do not fit their config are named at plan; what vLLM loads is let pass."""

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
from samples import upload
from stage_jobs import DEMO

from ray_jobs.checkpoints import inspect
from ray_jobs.inputs.errors import InputError

EMBEDDING = "model.language_model.embed_tokens.weight"
SIZES = {"F32": 4, "BF16": 2, "F16": 2, "I8": 1, "U8": 1, "I32": 4, "F8_E4M3": 1}
Shapes = dict[str, tuple[str, list[int]]]
TEXT = {"text_config": {"vocab_size": 6, "hidden_size": 4}}
GOOD: Shapes = {EMBEDDING: ("BF16", [6, 4]), "model.norm.weight": ("BF16", [4])}


def weights(shapes: Shapes) -> bytes:
    header, end = {}, 0
    for name, (dtype, shape) in shapes.items():
        size = SIZES[dtype]
        for length in shape:
            size *= length
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(end)


def model_in(folder: Path, shapes: Shapes, config: dict[str, Any], **files: bytes) -> str:
    config = {"architectures": ["Tiny"]} | config
    contents = {
        "config.json": json.dumps(config).encode(),
        "tokenizer.json": b"{}",
        "model.safetensors": weights(shapes),
    }
    return upload(str(folder), contents | {f"{name}.json": data for name, data in files.items()})


def quant_config(method: str) -> dict[str, Any]:
    return {"quantization_config": {"quant_method": method}}


REFUSED: dict[str, tuple[Shapes, dict[str, Any], str]] = {
    "an empty tensor": (
        GOOD | {EMBEDDING: ("BF16", [0])}, TEXT,
        rf"{EMBEDDING} is of shape \[0\]: saved without gathering \(DeepSpeed ZeRO-3\); set stage3_gather_16bit_",
    ),
    "a tensor with one empty side": (GOOD | {"model.bias": ("F32", [4, 0])}, {}, r"model\.bias is of shape \[4, 0\]"),
    "an empty weight among quantised ones": (
        {"a.qweight": ("I32", [4]), "b.weight": ("BF16", [0])}, quant_config("gptq"), r"b\.weight is of shape \[0\]",
    ),
    "embeddings with a row more": (
        GOOD | {EMBEDDING: ("BF16", [7, 4])}, TEXT, rf"{EMBEDDING} has 7 rows, and config\.json says vocab_size 6",
    ),
    "embeddings with a row less": (
        {"model.embed_tokens.weight": ("BF16", [5, 4])}, TEXT["text_config"], "has 5 rows, and config.json says voc",
    ),
    "a config of another width": (
        GOOD, {"text_config": {"vocab_size": 6, "hidden_size": 8}}, "is 4 wide, and config.json says hidden_size 8",
    ),
    "saved from inside FSDP": (
        {"model._fsdp_wrapped_module.norm.weight": ("F32", [4])}, {}, "from inside FSDP's wrapper; save the unwrapped",
    ),
    "saved from inside torch.compile": (
        {"_orig_mod.model.norm.weight": ("F32", [4])}, {}, "from inside torch.compile's wrapper; save the unwrapped",
    ),
    "saved from inside DDP": (
        {f"module.{name}": shape for name, shape in GOOD.items()}, {}, r"begins with 'module\.'.*; unwrap the model",
    ),
    "saved from inside PEFT": (
        {f"base_model.model.{name}": shape for name, shape in GOOD.items()}, {}, r"; merge the adapter \(merge_and_unl",
    ),
    "gptq in the config alone": (GOOD, TEXT | quant_config("gptq"), r"quantised \(gptq\), and none of them is; take"),
    "awq in the config alone": (
        GOOD, TEXT | quant_config("awq"), r"quantised \(awq\), and none of them is; take quant",
    ),
    "fp8 in the config alone": (
        GOOD, TEXT | quant_config("fp8"), r"quantised \(fp8\), and none of them is; take quant",
    ),
    "gptq in the weights alone": (
        GOOD | {"model.q.qweight": ("I32", [4])}, TEXT, r"q\.qweight is of quantised weights, and config\.json has",
    ),
    "fp8 in the weights alone": (
        GOOD | {"model.q.weight": ("F8_E4M3", [4]), "model.q.weight_scale_inv": ("F32", [1])}, TEXT,
        r"model\.q\.weight_scale_inv is of quantised weights, and config\.json has no quantization_config",
    ),
    "int8 without a word": (
        GOOD | {"model.q.weight": ("I8", [4, 4])}, TEXT, r"q\.weight is I8, and config\.json has no quantization",
    ),
}  # fmt: skip
LOADABLE: dict[str, tuple[Shapes, dict[str, Any]]] = {
    "as the config says": (GOOD, TEXT),
    "sizes left to their defaults": (GOOD, {"text_config": {}}),
    "sizes of another part of the model": (GOOD, {"vocab_size": 9, "hidden_size": 9} | TEXT),
    "embeddings of a name of their own": ({"wte.weight": ("F32", [9, 9])}, TEXT),
    "quantised embeddings": ({EMBEDDING: ("U8", [3, 4]), "a.qweight": ("I32", [4])}, TEXT | quant_config("awq")),
    "an empty g_idx": ({"a.qweight": ("I32", [4]), "a.g_idx": ("I32", [0])}, quant_config("gptq")),
    "bitsandbytes of whole weights": (GOOD, TEXT | quant_config("bitsandbytes")),
    "fp8 without scales": (GOOD | {"model.q.weight": ("F8_E4M3", [4])}, TEXT),
    "a count": (GOOD | {"norm.num_batches_tracked": ("I32", [])}, TEXT),
    "one tensor named module": (GOOD | {"module.weight": ("F32", [4])}, TEXT),
}  # fmt: skip


@pytest.mark.parametrize(("shapes", "config", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_surely_wrong_is_named(tmp_path: Path, shapes: Shapes, config: dict[str, Any], message: str) -> None:
    model = model_in(tmp_path / "m", shapes, config)
    with pytest.raises(InputError, match=f"checkpoint {model}: .*{message}") as error:
        inspect.resolve(model)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("shapes", "config"), LOADABLE.values(), ids=LOADABLE.keys())
def test_what_may_be_right_is_let_pass(tmp_path: Path, shapes: Shapes, config: dict[str, Any]) -> None:
    assert inspect.resolve(model_in(tmp_path / "m", shapes, config)).fingerprint


def test_a_file_of_modelopt_says_that_the_weights_are_quantised(tmp_path: Path) -> None:
    shapes = GOOD | {"model.q.weight": ("U8", [4, 4]), "model.q.weight_scale": ("F32", [1])}
    with pytest.raises(InputError, match="no quantization_config"):
        inspect.resolve(model_in(tmp_path / "without", shapes, TEXT))
    assert inspect.resolve(model_in(tmp_path / "with", shapes, TEXT, hf_quant_config=b"{}"))


def test_a_demo_checkpoint_saved_without_gathering(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model = tmp_path / "step-1"
    shutil.copytree(DEMO / "checkpoints" / "step-0800", model)
    shard = model / "model-00001-of-00002.safetensors"
    tensors = load_file(shard)
    save_file({name: tensor.new_empty(0) for name, tensor in tensors.items()}, shard)
    with pytest.raises(InputError, match=rf"checkpoint {model}: \S+ is of shape \[0\]: saved without gathering"):
        inspect.resolve(str(model))


@pytest.mark.parametrize("place", ["checkpoints/step-0200", "checkpoints/step-0840", "judge"])
def test_the_demos_models_fit_their_configs(place: str) -> None:
    assert inspect.resolve(str(DEMO / place))


@pytest.mark.parametrize(
    ("flags", "head", "fits"),
    [
        ({"tie_word_embeddings": True}, b"another", False),
        ({"text_config": {"tie_word_embeddings": True}}, b"another", False),
        ({"tie_word_embeddings": True}, b"", True),
        ({"tie_word_embeddings": False}, b"another", True),
        ({"tie_word_embeddings": True, "text_config": {"tie_word_embeddings": False}}, b"another", True),
        ({"tie_word_embeddings": True, "text_config": {}}, b"another", True),
        ({"tie_word_embeddings": False, "text_config": {"tie_word_embeddings": True}}, b"another", True),
        ({}, b"another", True),
    ],
)
def test_an_extra_head_that_vllm_would_not_load(tmp_path: Path, flags: dict[str, Any], head: bytes, fits: bool) -> None:
    model = model_in(tmp_path / "m", GOOD | {"lm_head.weight": ("BF16", [6, 4])}, flags)
    file = tmp_path / "m" / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[: len(data) - len(head)] + head)
    if fits:
        assert inspect.resolve(model)
        return
    with pytest.raises(
        InputError, match=r"lm_head\.weight is another tensor than .*; set tie_word_embeddings to false"
    ):
        inspect.resolve(model)
