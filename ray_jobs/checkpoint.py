"""A checkpoint in storage: is it whole, and which one is it.

Whole means: a config, every shard that the index names, each shard as long as its safetensors header says. A LoRA
adapter is one too, with its base model: whole when its config and its weights are, loaded as a merged copy. Used by the
sensor that waits for an upload, by `plan`, and by the caption job, which trusts neither.
"""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

from ray_jobs import adapter, storage
from ray_jobs.contract import BadInput, Checkpoint, digest, name_of
from ray_jobs.names import check_name

INDEX = "model.safetensors.index.json"
TRAINING = {"trainer_state.json", "all_results.json", "train_results.json", "eval_results.json"}  # the trainer's own
HEADER_LIMIT = 100_000_000  # safetensors' own limit on a header
HASHERS = 8  # files hashed at once


class Incomplete(Exception):
    """The checkpoint is not whole yet; the message says what is missing."""


def check_whole(uri: str) -> dict[str, int]:
    """Sizes by file name of a whole checkpoint.

    Raises Incomplete while files are missing or short, as they are during an upload, and BadInput for what waiting
    cannot mend: a name that no later use can bear, a config that is not JSON, an architecture left unnamed, a header
    that is not safetensors.
    """
    check_name(name_of(uri), "checkpoint")
    sizes = {entry.key: entry.size for entry in storage.entries(uri)}
    if not sizes:
        raise Incomplete(f"checkpoint {uri}: nothing is there; check the URI or wait for the upload")
    if "config.json" not in sizes and adapter.CONFIG in sizes:
        _check_adapter(uri, sizes)
        return sizes
    if "config.json" not in sizes:
        raise Incomplete(f"checkpoint {uri}: config.json is missing; wait for the upload or delete the checkpoint")
    config = _json(f"{uri}/config.json", uri)
    if not config.get("architectures"):
        raise BadInput(f"checkpoint {uri}: config.json names no `architectures`; save it with save_pretrained")
    if not {"tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "tekken.json"} & sizes.keys():
        raise Incomplete(
            f"checkpoint {uri}: the tokenizer is missing (tokenizer.json); wait or save it beside the model"
        )
    shards = _shards(uri, sizes)
    for number, shard in enumerate(shards, 1):
        which = f"checkpoint {uri}: shard {number} of {len(shards)}"
        if shard not in sizes:
            raise Incomplete(f"{which} is missing ({shard}); wait for the upload or delete the checkpoint")
        _check_length(f"{uri}/{shard}", sizes[shard], f"{which} ({shard})")
    return sizes


def is_adapter(uri: str) -> bool:
    """Whether there is an adapter at the URI, and not a model of its own."""
    return storage.exists(f"{uri}/{adapter.CONFIG}") and not storage.exists(f"{uri}/config.json")


def base_of(uri: str, base_model: str | None = None) -> str | None:
    """The URI of the model that an adapter changes, None for a checkpoint that is no adapter.

    It is what adapter_config.json names, when that is a URI or the absolute path of a directory that is there, else
    `base_model`, the suite's. Raises BadInput where there is neither.
    """
    if not is_adapter(uri):
        return None
    told = str(_json(f"{uri}/{adapter.CONFIG}", uri).get("base_model_name_or_path") or "")
    found = told if "://" in told or (Path(told).is_absolute() and Path(told).is_dir()) else base_model
    if found is None:
        raise BadInput(
            f"checkpoint {uri}: an adapter, and its base model {told!r} is neither a URI nor a directory here; set "
            "engine.base_model in the suite to the base's URI"
        )
    found = storage.absolute(found)
    if is_adapter(found):
        raise BadInput(f"checkpoint {uri}: its base model {found} is an adapter itself; merge the two and name that")
    return found


def resolve(uri: str, base_model: str | None = None) -> Checkpoint:
    """The checkpoint at a URI with its fingerprint, an adapter's with its base (`base_of`).

    Raises what `check_whole` raises, of the base too.
    """
    uri = storage.absolute(uri)
    check_whole(uri)
    base = base_of(uri, base_model)
    return named(uri, resolve(base) if base else None)


def named(uri: str, base: Checkpoint | None = None) -> Checkpoint:
    """The checkpoint that `check_whole` has found at a URI, over the base that `resolve` has found."""
    if base and (method := quantisation(base.uri)):
        raise BadInput(
            f"checkpoint {uri}: its base model {base.uri} is quantised ({method}), and an adapter is merged into whole "
            "weights; name the base as it was before"
        )
    return Checkpoint(uri=uri, name=name_of(uri), fingerprint=fingerprint(uri, base), base=base)


def fingerprint(uri: str, base: Checkpoint | None = None) -> str:
    """A hash over the content of the files that a model is loaded from; equal for a copy under another name.

    On S3 the content is known by its ETag, which a bucket gives without a read; in a directory by SHA-256.
    """
    local = storage.local_path(uri)
    loaded = [entry for entry in storage.entries(uri) if is_loaded(entry.key)]
    if local is None:
        versions = [entry.version for entry in loaded]
    else:
        with ThreadPoolExecutor(HASHERS) as threads:
            versions = list(threads.map(_sha256, [local / entry.key for entry in loaded]))
    content: list[Any] = [(one.key, one.size, version) for one, version in zip(loaded, versions, strict=True)]
    return digest(*content, *([base.fingerprint] if base else []))


def quantisation(uri: str) -> str | None:
    """How the weights of a checkpoint are quantised where they are stored, None when they are not.

    Its config says so, or its text model's, or a file of ModelOpt's: where vLLM looks.
    """
    config = _json(f"{uri}/config.json", uri)
    for one in (config, config.get("text_config")):
        if isinstance(one, dict) and (found := one.get("quantization_config") or one.get("compression_config")):
            return str(found.get("quant_method") or "unnamed") if isinstance(found, dict) else str(found)
    return "modelopt" if storage.exists(f"{uri}/hf_quant_config.json") else None


def companions(checkpoint: Checkpoint) -> dict[str, str]:
    """URIs by name of what is loaded beside the weights: the base's where an adapter has no such file of its own."""
    found = {}
    for uri in (checkpoint.base.uri, checkpoint.uri) if checkpoint.base else (checkpoint.uri,):
        for entry in storage.entries(uri):
            if is_loaded(entry.key) and not entry.key.endswith(".safetensors"):
                found[entry.key] = f"{uri}/{entry.key}"
    if checkpoint.base:
        found.pop(adapter.CONFIG)
    return dict(sorted(found.items()))


def verify(checkpoint: Checkpoint) -> None:
    """Raises BadInput when what is at the URI is no longer the checkpoint that was planned."""
    if checkpoint.base:
        verify(checkpoint.base)
    found = fingerprint(checkpoint.uri, checkpoint.base)
    if found != checkpoint.fingerprint:
        raise BadInput(
            f"checkpoint {checkpoint.uri}: overwritten since this run was planned (fingerprint {found}, planned "
            f"{checkpoint.fingerprint}); the new weights are another checkpoint: trigger a run for them"
        )


def is_loaded(key: str) -> bool:
    """Files of the model itself; optimizer states, logs and notes beside it do not make it another checkpoint."""
    return (
        "/" not in key
        and key not in TRAINING
        and key.endswith((".safetensors", ".json", ".jinja", ".model", ".txt", ".tiktoken"))
    )


def _check_adapter(uri: str, sizes: dict[str, int]) -> None:
    if why := adapter.refusal(_json(f"{uri}/{adapter.CONFIG}", uri)):
        raise BadInput(f"checkpoint {uri}: {why}")
    if adapter.WEIGHTS not in sizes:
        raise Incomplete(
            f"checkpoint {uri}: {adapter.WEIGHTS} is missing; wait for the upload or save the adapter as safetensors"
        )
    _check_length(f"{uri}/{adapter.WEIGHTS}", sizes[adapter.WEIGHTS], f"checkpoint {uri}: {adapter.WEIGHTS}")


def _shards(uri: str, sizes: dict[str, int]) -> list[str]:
    if INDEX in sizes:
        shards = sorted(set(_json(f"{uri}/{INDEX}", uri).get("weight_map", {}).values()))
        if not shards:
            raise BadInput(f"checkpoint {uri}: {INDEX} names no shards; save the checkpoint again")
        return shards
    single = [name for name in sizes if name.endswith(".safetensors") and name != adapter.WEIGHTS]
    if any("-of-" in name for name in single):
        raise Incomplete(f"checkpoint {uri}: {INDEX} is missing; wait for the upload or delete the checkpoint")
    if not single:
        hint = "; an adapter has no config.json" if adapter.CONFIG in sizes else ""
        raise Incomplete(
            f"checkpoint {uri}: no .safetensors file yet; wait for the upload or save as safetensors{hint}"
        )
    return sorted(single)


def read_header(uri: str, size: int, which: str = "") -> tuple[dict[str, Any], int]:
    """The tensors of a safetensors file of `size` bytes by name, and how many bytes lie before their data.

    Raises Incomplete while the file is shorter than that, BadInput when it is of another kind; `which` says what it is.
    """
    which = which or uri
    if size < 8:
        raise Incomplete(f"{which}: {size} bytes, shorter than a header; wait for the upload or save it again")
    length = int.from_bytes(storage.read_range(uri, 0, 8), "little")
    if length > HEADER_LIMIT:
        raise BadInput(f"{which}: not a safetensors file; save the checkpoint again")
    if size < 8 + length:
        raise Incomplete(f"{which}: truncated inside its header ({size} bytes); wait for the upload or save it again")
    try:
        tensors = json.loads(storage.read_range(uri, 8, length))
        tensors.pop("__metadata__", None)
        for tensor in tensors.values():
            _ = tensor["dtype"], [*tensor["shape"]], int(tensor["data_offsets"][1])
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise BadInput(f"{which}: its header is not readable; save the checkpoint again") from None
    return tensors, 8 + length


def _check_length(uri: str, size: int, which: str) -> None:
    """A safetensors file is 8 bytes of header length, the JSON header, then data up to the largest offset."""
    tensors, start = read_header(uri, size, which)
    expected = start + max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
    if size < expected:
        raise Incomplete(f"{which}: truncated, {size} of {expected} bytes; wait for the upload or save it again")


def _json(uri: str, checkpoint: str) -> dict[str, Any]:
    try:
        value = json.loads(storage.read(uri))
    except FileNotFoundError:
        raise Incomplete(f"checkpoint {checkpoint}: {name_of(uri)} went away while it was read") from None
    except ValueError:
        raise Incomplete(f"checkpoint {checkpoint}: {name_of(uri)} is not JSON (yet); wait or save it again") from None
    if not isinstance(value, dict):
        raise BadInput(f"checkpoint {checkpoint}: {name_of(uri)} is not a JSON object; save the checkpoint again")
    return value


def _sha256(path: Path) -> str:
    with path.open("rb") as file:  # opened first: a network file system looks anew at a file that is opened
        found = os.fstat(file.fileno())
    return _sha256_of(path, (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))


@lru_cache(maxsize=1024)
def _sha256_of(path: Path, state: tuple[int, ...]) -> str:
    """The hash of a file, read once as long as its `state` is the same; any write changes that."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
