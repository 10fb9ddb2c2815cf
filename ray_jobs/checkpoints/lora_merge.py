"""Merge a LoRA adapter into copies of its base's files. The tensors keep their names and their offsets.

`node_cache` calls this on the node that needs the checkpoint. An engine loads the result like any checkpoint of the
base's architecture. Sums are computed in float32 and rounded to the base's dtype. A weight to which zero is added keeps
its bits. One tensor at a time is in memory.
"""

import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from ray_jobs.checkpoints.config_files import read_json
from ray_jobs.checkpoints.lora_config import CONFIG, WEIGHTS, compute_scale
from ray_jobs.checkpoints.safetensors_header import Tensor, read_header
from ray_jobs.inputs.errors import InputError

PREFIX = "base_model.model."  # PEFT puts this before every name
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

Header = dict[str, Tensor]
Edit = Callable[[torch.Tensor], torch.Tensor]  # takes a tensor of the base, returns the merged tensor


def merge(base: Path, adapter: Path, target: Path, subject: str) -> None:
    """Write the merged safetensors files of the base into the directory `target`.

    Raises InputError, which begins with `subject`, for tensors that the base does not have or has in another shape.
    """
    shards = {file: read_header(str(file), file.stat().st_size) for file in sorted(base.glob("*.safetensors"))}
    base_tensors = {name: tensor for header, _ in shards.values() for name, tensor in header.items()}
    config = read_json(str(adapter / CONFIG), subject.removeprefix("checkpoint "))
    try:
        with safe_open(adapter / WEIGHTS, "pt") as weights:
            edits = _plan_edits(config, weights, base_tensors, _build_name_resolver(base, base_tensors))
            for file, (header, start) in shards.items():
                shutil.copyfile(file, target / file.name)
                _apply_edits(target / file.name, {name: header[name] for name in header.keys() & edits}, start, edits)
    except (ValueError, re.error) as error:
        raise InputError(f"{subject}: {error}") from None


def _plan_edits(
    config: dict[str, Any], weights: Any, base_tensors: Header, resolve_name: Callable[[str], str]
) -> dict[str, Edit]:
    """Return the edits of the base's tensors by name. Raises ValueError for a tensor that cannot be merged."""
    keys: set[str] = set(weights.keys())
    edits: dict[str, Edit] = {}

    def read_shape(key: str) -> list[int]:
        dimensions: list[int] = weights.get_slice(key).get_shape()
        return dimensions

    for key in sorted(keys):
        path = key.removeprefix(PREFIX)
        module, _, matrix = path.partition(".lora_")
        if path == key or (matrix and matrix not in ("A.weight", "B.weight")):
            raise ValueError(f"{key} is no tensor of a plain LoRA; merge the adapter and save the whole model")
        if matrix == "B.weight" and key.replace(".lora_B.", ".lora_A.") in keys:
            continue  # handled together with its A
        if not matrix:  # a fully trained module
            name, adapter_shape, edit = resolve_name(path), read_shape(key), partial(_replace_weight, weights, key)
        else:
            down, up = (f"{PREFIX}{module}.lora_{letter}.weight" for letter in "AB")
            if not {down, up} <= keys:
                raise ValueError(f"{key} has no counterpart; save the adapter again")
            if [len(read_shape(down)), len(read_shape(up))] != [2, 2] or read_shape(down)[0] != read_shape(up)[1]:
                raise ValueError(
                    f"{module} has A {read_shape(down)} and B {read_shape(up)}, no product; merge it and save it whole"
                )
            name, adapter_shape = resolve_name(f"{module}.weight"), [read_shape(up)[0], read_shape(down)[1]]
            edit = partial(_add_product, weights, down, up, compute_scale(config, module, read_shape(down)[0]))
        if base_tensors[name]["dtype"] not in DTYPES:
            raise ValueError(
                f"{name} of its base is {base_tensors[name]['dtype']}, no float; take the base as it was before "
                "quantisation"
            )
        if adapter_shape != base_tensors[name]["shape"]:
            raise ValueError(
                f"{path} is for {adapter_shape}, and {name} of its base is {base_tensors[name]['shape']}; take its "
                "own base"
            )
        if name in edits:
            raise ValueError(f"{name} of its base is changed twice; save the adapter again")
        edits[name] = edit
    if not edits:
        raise ValueError(f"{WEIGHTS} is empty, so it would be its base; save the adapter again")
    return edits


def _add_product(weights: Any, down: str, up: str, scale: float, weight: torch.Tensor) -> torch.Tensor:
    product = (weights.get_tensor(up).float() @ weights.get_tensor(down).float()) * scale
    return torch.where(product == 0, weight, (weight.float() + product).to(weight.dtype))  # -0 + 0 would be +0


def _replace_weight(weights: Any, key: str, weight: torch.Tensor) -> torch.Tensor:
    replacement: torch.Tensor = weights.get_tensor(key).to(weight.dtype)
    return replacement


def _build_name_resolver(base: Path, base_tensors: Header) -> Callable[[str], str]:
    """Return a function that maps a name in the adapter to a tensor name in the base's files, or raises ValueError.

    transformers uses other names in memory than in files, and the names differ between versions. An adapter has the
    names of the version that trained it. So both names are renamed as the installed transformers would rename them.
    """
    rename, tied = _load_renaming(base)
    names: dict[str | None, list[str]] = {}
    for name in base_tensors:
        names.setdefault(rename(name), []).append(name)

    def resolve(adapter_name: str) -> str:
        renamed = rename(adapter_name)
        candidates = names.get(renamed, []) if renamed else []
        if renamed in tied:
            raise ValueError(
                f"{adapter_name} is tied to another tensor of its base; merge the adapter and save the whole model"
            )
        if len(candidates) != 1:
            fault = f"could be {' or '.join(sorted(candidates))}" if candidates else "is not"
            raise ValueError(f"{adapter_name} {fault} in its base {base}; take the base that it was trained on")
        return candidates[0]

    return resolve


def _load_renaming(base: Path) -> tuple[Callable[[str], str | None], set[str]]:
    """Return a function from a tensor's name in a file to its name in memory, and the names of the tied tensors.

    The function returns None for a tensor that transformers converts to another form. If transformers does not know the
    model, names stay the same.
    """
    from transformers import AutoConfig, AutoModelForImageTextToText
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    try:
        config = AutoConfig.from_pretrained(base, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config, trust_remote_code=False)
    except (ValueError, KeyError, OSError):
        return lambda name: name, set()
    mappings, state = get_model_conversion_mapping(model), model.state_dict()
    renamings = [mapping for mapping in mappings if isinstance(mapping, WeightRenaming)]
    converters = [mapping for mapping in mappings if isinstance(mapping, WeightConverter)]

    def rename(name: str) -> str | None:
        renamed, converted = rename_source_key(name, renamings, converters, model.base_model_prefix, state)
        return None if converted else renamed

    tied = model.all_tied_weights_keys
    return rename, {*tied, *tied.values()}


def _apply_edits(file: Path, header: Header, start: int, edits: dict[str, Edit]) -> None:
    """Edit the tensors of the header in place. `start` is the offset in bytes at which the file's data begins."""
    with file.open("r+b") as opened:
        for name, tensor in header.items():
            begin, end = tensor["data_offsets"]
            opened.seek(start + begin)
            data = bytearray(opened.read(end - begin))
            weight = torch.frombuffer(data, dtype=DTYPES[tensor["dtype"]]).reshape(tensor["shape"])
            merged = edits[name](weight).contiguous()
            opened.seek(start + begin)
            opened.write(merged.view(torch.uint8).numpy().tobytes())
