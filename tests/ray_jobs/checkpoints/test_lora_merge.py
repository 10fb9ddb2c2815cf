"""The merge compared with sums by hand, tensor by tensor and byte by byte, and the adapters that it refuses."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import make_random_pair, read_weights, write_adapter
from safetensors.torch import save_file
from stage_jobs import DEMO
from torch import Tensor

from ray_jobs.checkpoints.lora_merge import merge
from ray_jobs.inputs.errors import InputError

BASE = DEMO / "checkpoints" / "step-0300"
SHARDS = FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
SHAPES = {"layers.0.q_proj": (6, 4), "layers.0.v_proj": (2, 4), "layers.10.q_proj": (6, 4), "head": (5, 6)}


def base_in(folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """Write a model of two shards that transformers does not know, so that it renames nothing."""
    random = torch.Generator().manual_seed(0)
    tensors = {f"{module}.weight": torch.randn(*shape, generator=random) for module, shape in SHAPES.items()}
    tensors |= {"layers.0.q_proj.bias": torch.randn(6, generator=random), "norm.weight": torch.ones(4)}
    tensors = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    tensors["norm.steps"] = torch.arange(3)
    names = sorted(tensors)
    folder.mkdir(parents=True)
    for shard, shard_names in ((FIRST, names[:3]), (SECOND, names[3:])):
        save_file({name: tensors[name] for name in shard_names}, folder / shard, {"format": "pt"})
    return folder


def merge_adapter(base: Path, adapter: Path, target: Path) -> dict[str, Tensor]:
    target.mkdir()
    merge(base, adapter, target, "checkpoint here")
    return read_weights(target)


def pairs(rank: int = 4) -> dict[str, tuple[Tensor, Tensor]]:
    """Pairs for modules in both shards."""
    modules = [module for module in SHAPES if module != "head"]
    return {module: make_random_pair(SHAPES[module], rank, seed) for seed, module in enumerate(modules)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({}, 16 / 4),
        ({"lora_alpha": 3}, 3 / 4),
        ({"lora_alpha": 3.5, "use_rslora": True}, 3.5 / math.sqrt(4)),
        ({"r": 8, "rank_pattern": {"q_proj": 4, "v_proj": 4}}, 16 / 4),
        ({"r": 8, "rank_pattern": {r"layers\.\d+\.(q|v)_proj": 4}}, 16 / 4),
        ({"alpha_pattern": {"_proj": 1, "[qv]_proj": 2}}, 2 / 4),  # a pattern stands for whole parts of a path
    ],
)
def test_a_merged_weight_is_w_plus_s_b_a(
    tmp_path: Path, dtype: torch.dtype, config: dict[str, Any], scale: float
) -> None:
    base = base_in(tmp_path / "base", dtype)
    weights = merge_adapter(base, write_adapter(tmp_path / "adapter", pairs(), **config), tmp_path / "merged")
    expected = read_weights(base)
    for module, (down, up) in pairs().items():
        weight = expected[f"{module}.weight"]
        expected[f"{module}.weight"] = (weight.float() + (up @ down) * scale).to(dtype)
        assert not torch.equal(expected[f"{module}.weight"], weight)
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_an_alpha_of_its_own_is_of_the_module_that_the_pattern_names(tmp_path: Path) -> None:
    base = base_in(tmp_path / "base")
    alphas = {"layers.0.q_proj": 1}  # not of layers.10.q_proj, whose path ends otherwise
    weights = merge_adapter(
        base, write_adapter(tmp_path / "adapter", pairs(), alpha_pattern=alphas), tmp_path / "merged"
    )
    for module, scale in (("layers.0.q_proj", 1 / 4), ("layers.10.q_proj", 16 / 4)):
        down, up = pairs()[module]
        assert torch.equal(weights[f"{module}.weight"], read_weights(base)[f"{module}.weight"] + (up @ down) * scale)


def test_files_have_the_bases_layout_and_twice_the_same_bytes(tmp_path: Path) -> None:
    base, adapter = base_in(tmp_path / "base", torch.bfloat16), write_adapter(tmp_path / "adapter", pairs())
    for name in ("one", "two"):
        merge_adapter(base, adapter, tmp_path / name)
    for shard in (FIRST, SECOND):
        shard_data, was = (tmp_path / "one" / shard).read_bytes(), (base / shard).read_bytes()
        header = 8 + int.from_bytes(was[:8], "little")
        assert shard_data[:header] == was[:header]
        assert len(shard_data) == len(was)
        assert shard_data != was
        assert shard_data == (tmp_path / "two" / shard).read_bytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("seed", range(4))
def test_an_adapter_of_zeros_leaves_every_bit(tmp_path: Path, dtype: torch.dtype, seed: int) -> None:
    """Zeros of either sign and NaN stay. An adapter before its first step is zero."""
    base = base_in(tmp_path / "base", dtype)
    tensors = read_weights(base)
    tensors["layers.0.q_proj.weight"][seed] = torch.tensor([-0.0, 0.0, math.inf, math.nan]).to(dtype)
    save_file(tensors, base / FIRST)
    (base / SECOND).unlink()
    zeros = {module: (down, torch.zeros_like(up)) for module, (down, up) in pairs().items()}
    merge_adapter(base, write_adapter(tmp_path / "adapter", zeros), tmp_path / "merged")
    assert (tmp_path / "merged" / FIRST).read_bytes() == (base / FIRST).read_bytes()


def test_a_module_trained_as_a_whole_takes_the_bases_place(tmp_path: Path) -> None:
    base, head = base_in(tmp_path / "base", torch.bfloat16), torch.randn(5, 6)
    others = {"base_model.model.head.weight": head}
    adapter = write_adapter(tmp_path / "adapter", pairs(), others, modules_to_save=["head"])
    weights = merge_adapter(base, adapter, tmp_path / "merged")
    assert torch.equal(weights["head.weight"], head.to(torch.bfloat16))
    assert torch.equal(weights["norm.weight"], read_weights(base)["norm.weight"])


Q = "base_model.model.layers.0.q_proj"
GOOD = {f"{Q}.lora_A.weight": torch.ones(4, 4), f"{Q}.lora_B.weight": torch.ones(6, 4)}
REFUSED: dict[str, tuple[dict[str, Tensor], str]] = {
    "a module that is not there": (
        {f"{Q}x.lora_A.weight": torch.ones(4, 4), f"{Q}x.lora_B.weight": torch.ones(6, 4)},
        r"layers\.0\.q_projx\.weight is not in its base .*/base; take the base that it was trained on",
    ),
    "an A of another width": (
        GOOD | {f"{Q}.lora_A.weight": torch.ones(4, 5)},
        r"layers\.0\.q_proj\.lora_A\.weight is for \[6, 5\], and layers\.0\.q_proj\.weight of its base is \[6, 4\]",
    ),
    "A and B of two ranks": (GOOD | {f"{Q}.lora_B.weight": torch.ones(6, 3)}, r"A \[4, 4\] and B \[6, 3\], no product"),
    "a convolution": (
        {f"{Q}.lora_A.weight": torch.ones(4, 4, 1, 1), f"{Q}.lora_B.weight": torch.ones(6, 4, 1, 1)},
        "no product",
    ),
    "another rank than the config's": (
        {f"{Q}.lora_A.weight": torch.ones(2, 4), f"{Q}.lora_B.weight": torch.ones(6, 2)},
        r"layers\.0\.q_proj has rank 2, and adapter_config\.json gives it 4",
    ),
    "A alone": ({f"{Q}.lora_A.weight": torch.ones(4, 4)}, r"lora_A\.weight has no counterpart"),
    "B alone": ({f"{Q}.lora_B.weight": torch.ones(6, 4)}, r"lora_B\.weight has no counterpart"),
    "DoRA": (
        GOOD | {f"{Q}.lora_magnitude_vector": torch.ones(6)},
        "lora_magnitude_vector is no tensor of a plain LoRA",
    ),
    "a bias of B": (GOOD | {f"{Q}.lora_B.bias": torch.ones(6)}, r"lora_B\.bias is no tensor of a plain LoRA"),
    "an embedding": ({"base_model.model.head.lora_embedding_A": torch.ones(4, 5)}, "lora_embedding_A is no tensor"),
    "no name of PEFT's": ({"layers.0.q_proj.lora_A.weight": torch.ones(4, 4)}, "is no tensor of a plain LoRA"),
    "a longer vocabulary": (
        GOOD | {"base_model.model.head.weight": torch.ones(7, 6)},
        r"head\.weight is for \[7, 6\], and head\.weight of its base is \[5, 6\]",
    ),
    "what is no float": (GOOD | {"base_model.model.norm.steps": torch.ones(3)}, r"norm\.steps of its base is I64"),
    "a weight changed twice": (
        GOOD | {f"{Q}.weight": torch.ones(6, 4)},
        r"q_proj\.weight of its base is changed twice",
    ),
    "nothing": ({}, "is empty, so it would be its base"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_merged_is_one_line(tmp_path: Path, case: str) -> None:
    tensors, message = REFUSED[case]
    with pytest.raises(InputError, match=f"^checkpoint here: .*{message}") as error:
        merge_adapter(base_in(tmp_path / "base"), write_adapter(tmp_path / "adapter", {}, tensors), tmp_path / "merged")
    assert "\n" not in str(error.value)


def test_an_invalid_pattern_is_an_error_of_one_line(tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", pairs(), rank_pattern={"(q_proj": 4})
    with pytest.raises(InputError, match=r"^checkpoint here: its rank_pattern .* has '\(q_proj', which is no pattern"):
        merge_adapter(base_in(tmp_path / "base"), adapter, tmp_path / "merged")


# --- names ------------------------------------------------------------------------------------------------------------

LANGUAGE, VISION = "layers.1.self_attn.q_proj", "blocks.2.attn.qkv"
NOW = {"model.language_model.": LANGUAGE, "model.visual.": VISION}  # in transformers' memory
BEFORE = {"model.": LANGUAGE, "visual.": VISION}  # before its version 4.52, and in the demo's files


def save_renamed(folder: Path) -> Path:
    """Save the base with its tensors under the names that transformers' model has in memory, as later versions do."""
    shutil.copytree(BASE, folder)
    for shard in folder.glob("*.safetensors"):
        shard.unlink()
    renamed = {}
    for name, tensor in read_weights(BASE).items():
        now = f"model.{name}" if name.startswith("visual.") else name.replace("model.", "model.language_model.", 1)
        renamed[now] = tensor
    save_file(renamed, folder / "model.safetensors", {"format": "pt"})
    (folder / "model.safetensors.index.json").unlink()
    return folder


@pytest.mark.parametrize("style", [NOW, BEFORE])
@pytest.mark.parametrize("saved_now", [True, False])
def test_adapters_and_bases_of_all_versions_find_each_other(
    tmp_path: Path, style: dict[str, str], saved_now: bool
) -> None:
    """transformers loads from the merged files the same network as the sum by hand in memory."""
    from transformers import AutoModelForImageTextToText

    base = save_renamed(tmp_path / "base") if saved_now else Path(shutil.copytree(BASE, tmp_path / "base"))
    random_pairs = {LANGUAGE: make_random_pair((96, 96), 4, 0), VISION: make_random_pair((192, 64), 4, 1)}
    adapter = write_adapter(tmp_path / "adapter", {prefix + path: random_pairs[path] for prefix, path in style.items()})
    target = Path(shutil.copytree(base, tmp_path / "merged"))
    merge(base, adapter, target, "checkpoint here")
    network = AutoModelForImageTextToText.from_pretrained(BASE, dtype=torch.bfloat16)
    for prefix, path in NOW.items():
        down, up = random_pairs[path]
        weight = network.get_submodule(prefix + path).weight
        weight.data = (weight.data.float() + (up @ down) * 4).to(torch.bfloat16)
    expected = network.state_dict()
    weights = AutoModelForImageTextToText.from_pretrained(target, dtype=torch.bfloat16).state_dict()
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_a_tied_head_is_not_changed_alone(tmp_path: Path) -> None:
    base = Path(shutil.copytree(BASE, tmp_path / "base"))
    config = json.loads((base / "config.json").read_text())
    config["text_config"]["tie_word_embeddings"] = config["tie_word_embeddings"] = True
    (base / "config.json").write_text(json.dumps(config))
    adapter = write_adapter(tmp_path / "adapter", {"lm_head": make_random_pair((438, 96), 4, 0)})
    with pytest.raises(InputError, match=r"lm_head\.weight is tied to another tensor of its base"):
        merge_adapter(base, adapter, tmp_path / "merged")
    assert merge_adapter(BASE, adapter, tmp_path / "free")


def test_a_name_that_could_be_two_tensors_is_refused(tmp_path: Path) -> None:
    base = Path(shutil.copytree(BASE, tmp_path / "base"))
    save_file({f"model.language_model.{LANGUAGE}.weight": torch.ones(96, 96)}, base / "model-more.safetensors")
    adapter = write_adapter(
        tmp_path / "adapter", {f"model.language_model.{LANGUAGE}": make_random_pair((96, 96), 4, 0)}
    )
    with pytest.raises(InputError, match=rf"could be model\.language_model\.{LANGUAGE}\.weight or model\.{LANGUAGE}"):
        merge_adapter(base, adapter, tmp_path / "merged")
