"""Decides whether one engine can serve two checkpoints by a weight swap. The driver and the actor call it."""

import hashlib
from contextlib import suppress
from pathlib import Path

from ray_jobs.checkpoints.config_files import CONFIG_ITEMS
from ray_jobs.checkpoints.files import SIDECAR_BYTES, read
from ray_jobs.checkpoints.inspect import sidecar_files
from ray_jobs.checkpoints.safetensors_header import read_header
from ray_jobs.checkpoints.weights import INDEX, list_loaded
from ray_jobs.contract.ids import digest
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.strict_json import NotJson, parse_object

TensorLayout = dict[str, tuple[str, tuple[int, ...]]]  # dtype and shape of each tensor, by name
VOLATILE = {"_name_or_path", "transformers_version"}  # they describe the program that saved the config, not the model


def compatibility_key(checkpoint: Checkpoint) -> str:
    """A hash of everything that defines a model, except the values of its weights.

    The hash covers each file beside the weights (config, tokenizer, processor, chat template), and the name, dtype and
    shape of each tensor. For an adapter, the tensors are those of its base. The split into shards does not count.
    """
    beside = [(name, _hash_sidecar(uri)) for name, uri in sidecar_files(checkpoint).items() if name != INDEX]
    return digest(beside, sorted(tensor_layout((checkpoint.base or checkpoint).uri).items()))


def tensor_layout(uri: str | Path) -> TensorLayout:
    """The tensors of the checkpoint at a URI or in a directory, by its safetensors headers."""
    layout: TensorLayout = {}
    for entry in list_loaded(str(uri)):
        if entry.key.endswith(".safetensors"):
            tensors, _ = read_header(f"{uri}/{entry.key}", entry.size)
            layout |= {name: (tensor["dtype"], tuple(tensor["shape"])) for name, tensor in tensors.items()}
    return layout


def first_difference(engine_layout: TensorLayout, checkpoint_layout: TensorLayout) -> str | None:
    """The first tensor in which the layouts differ, in words; None if they are the same."""
    for name in sorted(engine_layout.keys() | checkpoint_layout.keys()):
        if name not in checkpoint_layout:
            return f"{name} is missing"
        if name not in engine_layout:
            return f"{name} is one too many"
        if engine_layout[name] != checkpoint_layout[name]:
            (dtype, shape), (had, was) = checkpoint_layout[name], engine_layout[name]
            return f"{name} is {dtype}{list(shape)}, was {had}{list(was)}"
    return None


def _hash_sidecar(uri: str) -> str:
    data = read(uri, SIDECAR_BYTES)
    if uri.endswith("config.json"):
        with suppress(InputError, NotJson):
            value = parse_object(data, CONFIG_ITEMS)
            return digest({key: item for key, item in value.items() if key not in VOLATILE})
    return hashlib.sha256(data).hexdigest()
