"""Check whether a checkpoint in storage is complete, and compute its fingerprint.

A checkpoint is complete if it has a config and every shard that the index names, and each shard is as long as its
safetensors header says. A LoRA adapter with its base model is a checkpoint too. It is complete if its config and its
weights are, and it is loaded as a merged copy.

The sensor that waits for an upload, the router, `plan` and the jobs call this module. None of them trusts the result of
another. Every public function returns, or raises InputError, Incomplete or RetryableError (see `checkpoints.files`).
"""

import hashlib
import logging
import os
import posixpath
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from ray_jobs.checkpoints import lora_config
from ray_jobs.checkpoints.files import (
    ALL_BESIDE_BYTES,
    BESIDE_BYTES,
    Config,
    Incomplete,
    NeverWhole,
    Tensor,
    folders_of_bases,
    is_regular,
    list_files,
    open_file,
    read_config,
    read_header,
    read_json,
    translates_errors,
    was_loaded,
)
from ray_jobs.checkpoints.layouts import refuse_foreign, refuse_without_config, refuse_without_tokenizer
from ray_jobs.checkpoints.shapes import NOT_GATHERED, find_misfit, find_quantization, find_tied_head, is_head_tied
from ray_jobs.checkpoints.weights import (
    INDEX,
    QUANTISATION,
    choose_weights,
    holds_same_values,
    is_adapter_folder,
    list_leftovers,
    list_loaded,
    read_tensors,
    refuse_second_set,
)
from ray_jobs.contract.ids import digest, name_of
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import check_name, printable
from ray_jobs.storage import objects

__all__ = [
    "INDEX", "Incomplete", "check_present", "find_base", "fingerprint", "former_fingerprint", "is_adapter",
    "list_files", "list_leftovers", "list_loaded", "quantization_method", "read_header", "require_complete",
    "resolve", "sidecar_files", "verify", "with_fingerprint",
]  # fmt: skip

log = logging.getLogger("assay")

TOKENIZERS = {"tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "tekken.json"}
DOWNLOADS = (".aria2",)  # marks a download under way: the file beside it has its full size already, with holes
HASHERS = 8  # files hashed at once


@translates_errors
def require_complete(uri: str) -> dict[str, int]:
    """Return the sizes in bytes of a complete checkpoint's files, by name.

    Raises Incomplete while files are missing or short, as they are during an upload. Raises InputError for faults that
    waiting cannot mend: an unusable name, a config that is not an object, a missing architecture, a header that is not
    safetensors, two sets of weights, weights that do not fit the config. Raises NeverWhole, a subclass of InputError,
    if a trainer's folder holds a model in another form.
    """
    check_name(name_of(uri), "checkpoint")
    sizes = {entry.key: entry.size for entry in list_files(uri)}
    if not sizes:
        refuse_foreign(uri, sizes)
        raise Incomplete(f"checkpoint {uri}: nothing is there; check the URI or wait for the upload")
    if part := next((name for name in sizes if name.endswith(DOWNLOADS) and name.rpartition(".")[0] in sizes), None):
        raise Incomplete(
            f"checkpoint {uri}: {printable(part)} is there, so the download of "
            f"{printable(part.rpartition('.')[0])} has not ended; wait for it, or start it again"
        )
    if is_adapter_folder(sizes):
        _check_adapter(uri, sizes)
        return sizes
    if "config.json" not in sizes:
        refuse_without_config(uri, sizes)
        raise Incomplete(f"checkpoint {uri}: config.json is missing; wait for the upload or delete the checkpoint")
    config = read_config(uri)
    if not config.architectures:
        raise InputError(f"checkpoint {uri}: config.json names no `architectures`; save it with save_pretrained")
    if not any(name.endswith(".safetensors") for name in sizes):
        refuse_foreign(uri, sizes)
    if not TOKENIZERS & sizes.keys():
        refuse_without_tokenizer(uri, sizes)
        _read_weights(uri, sizes)  # raises Incomplete while the upload of the weights is under way
        raise NeverWhole(
            f"checkpoint {uri}: the tokenizer is missing (tokenizer.json), and the weights are whole; copy it and the "
            "processor's files of its base into the folder"
        )
    tensors = _read_weights(uri, sizes)
    method = find_quantization(config) or next((name for name in QUANTISATION if name in sizes), None)
    if misfit := find_misfit(config, tensors, method):
        raise InputError(f"checkpoint {uri}: {misfit}")
    return sizes


@translates_errors
def is_adapter(uri: str) -> bool:
    """True if the folder holds an adapter, and not a whole model."""
    return is_adapter_folder(entry.key for entry in list_files(uri))


@translates_errors
def find_base(uri: str, base_model: str | None = None) -> str | None:
    """Return the URI of an adapter's base model, or None if the checkpoint is not an adapter.

    The base is the place that adapter_config.json names, if that is a URI or the absolute path of an existing
    directory. Otherwise it is `base_model`, from the suite. Raises InputError if neither is given. Raises InputError
    too if the adapter names a place that is not the suite's base, and not below its own parent folder,
    ASSAY_CHECKPOINTS or ASSAY_BASES, because an adapter must not choose what the cluster opens.
    """
    if not is_adapter(uri):
        return None
    value = read_json(f"{uri}/{lora_config.CONFIG}", uri).get("base_model_name_or_path")
    named_base = value if isinstance(value, str) else ""
    base = named_base if _is_place(named_base) else base_model
    if base is None:
        raise InputError(
            f"checkpoint {uri}: an adapter, and its base model {printable(named_base)!r} is neither a URI nor a "
            "directory here; set engine.base_model in the suite to the base's URI"
        )
    base = _normalise(base)
    if base == _normalise(named_base) and not _is_allowed(base, uri, base_model):
        raise InputError(
            f"checkpoint {uri}: an adapter, and its base model {printable(base)} lies outside the folders of bases; "
            "name it in engine.base_model of the suite, or its folder in ASSAY_BASES"
        )
    if is_adapter(base):
        raise InputError(f"checkpoint {uri}: its base model {base} is an adapter itself; merge the two and name that")
    return base


@translates_errors
def resolve(uri: str, base_model: str | None = None) -> Checkpoint:
    """Return the checkpoint at a URI with its fingerprint, and with its base if it is an adapter (`find_base`).

    Raises what `require_complete` raises, for the checkpoint and for its base.
    """
    uri = objects.absolute(uri)
    sizes = require_complete(uri)
    if not is_adapter_folder(sizes) and is_head_tied(config := read_config(uri)):
        _refuse_untied_head(uri, config, sizes)
    if leftovers := list_leftovers(uri):
        log.warning(
            "checkpoint %s: passed over, for they are not of the model: %s", uri, printable(", ".join(leftovers))
        )
    base = find_base(uri, base_model)
    return with_fingerprint(uri, resolve(base) if base else None)


@translates_errors
def with_fingerprint(uri: str, base: Checkpoint | None = None) -> Checkpoint:
    """Return the checkpoint with its fingerprint. Call `require_complete` first; `base` comes from `resolve`.

    Raises InputError if the base is quantised.
    """
    if base and (method := quantization_method(base.uri)):
        raise InputError(
            f"checkpoint {uri}: its base model {base.uri} is quantised ({method}), and an adapter is merged into whole "
            "weights; name the base as it was before"
        )
    files = _list_contents(uri, list_loaded(uri))
    file_digests = tuple((name, digest(size, version)) for name, size, version in files)
    return Checkpoint(uri=uri, name=name_of(uri), fingerprint=_fingerprint(files, base), base=base, files=file_digests)


@translates_errors
def fingerprint(uri: str, base: Checkpoint | None = None) -> str:
    """Return a hash over the content of the loaded files. A copy under another name has the same fingerprint.

    On S3 the content of a file is represented by the SHA-256 that the store keeps, if the upload gave one, else by the
    ETag, an MD5. Neither costs a read. In a directory each file is read and hashed with SHA-256.
    """
    return _fingerprint(_list_contents(uri, list_loaded(uri)), base)


@translates_errors
def former_fingerprint(uri: str, base: Checkpoint | None = None) -> str | None:
    """Return the fingerprint by the former rule, which counted notes beside the model, or None without such notes."""
    former = [entry for entry in list_files(uri) if was_loaded(entry.key)]
    notes = {entry.key: entry.size for entry in former} if former != list_loaded(uri) else {}
    notes = {name: size for name, size in notes.items() if not name.endswith(".safetensors")}
    if not notes or max(notes.values()) > BESIDE_BYTES or sum(notes.values()) > ALL_BESIDE_BYTES:
        return None
    if not all(is_regular(uri, entry.key) for entry in former):
        return None
    return _fingerprint(_list_contents(uri, former), base)


@translates_errors
def quantization_method(uri: str) -> str | None:
    """Return the method by which the stored weights are quantised, or None if they are not.

    Looks where vLLM looks: in the config, in the config of the text model, and for a file of ModelOpt.
    """
    if method := find_quantization(read_config(uri)):
        return method
    return "modelopt" if any(entry.key == "hf_quant_config.json" for entry in list_files(uri)) else None


@translates_errors
def sidecar_files(checkpoint: Checkpoint) -> dict[str, str]:
    """Return the URIs of the files loaded beside the weights, by name. An adapter's file replaces that of its base."""
    uris_by_name = {}
    for uri in (checkpoint.base.uri, checkpoint.uri) if checkpoint.base else (checkpoint.uri,):
        for entry in list_loaded(uri):
            if not entry.key.endswith(".safetensors"):
                uris_by_name[entry.key] = f"{uri}/{entry.key}"
    if checkpoint.base:
        uris_by_name.pop(lora_config.CONFIG, None)
    return dict(sorted(uris_by_name.items()))


@translates_errors
def check_present(checkpoint: Checkpoint) -> None:
    """Raise InputError if a planned file is gone. Costs one listing, and opens no file."""
    if checkpoint.base:
        check_present(checkpoint.base)
    if checkpoint.files:
        there = {entry.key for entry in list_files(checkpoint.uri)}
        _refuse_deleted(checkpoint, [name for name, _ in checkpoint.files if name not in there])


@translates_errors
def verify(checkpoint: Checkpoint) -> None:
    """Raise InputError if the files at the URI are no longer those of the planned checkpoint."""
    if checkpoint.base:
        verify(checkpoint.base)
    if checkpoint.files:
        _compare_files(checkpoint)
    elif checkpoint.fingerprint not in _fingerprints(checkpoint):
        raise InputError(
            f"checkpoint {checkpoint.uri}: overwritten since this run was planned; it is another checkpoint now: "
            "trigger a run for it"
        )


def _compare_files(checkpoint: Checkpoint) -> None:
    check_present(checkpoint)
    planned, uri = dict(checkpoint.files), checkpoint.uri
    entries = [entry for entry in list_files(uri) if entry.key in planned]
    now = {name: digest(size, version) for name, size, version in _list_contents(uri, entries)}
    if changed := [name for name, content in now.items() if content != planned[name]]:
        raise InputError(
            f"checkpoint {uri}: {_first_of(changed)} overwritten since this run was planned; it is another checkpoint "
            "now: trigger a run for it"
        )
    if added := [entry.key for entry in list_loaded(uri) if entry.key not in planned]:
        raise InputError(
            f"checkpoint {uri}: {_first_of(added)} added since this run was planned; it is another checkpoint now: "
            "trigger a run for it"
        )


def _refuse_deleted(checkpoint: Checkpoint, deleted: list[str]) -> None:
    if deleted:
        which = f"{_first_of(deleted)} " if len(deleted) < len(checkpoint.files) else ""
        raise InputError(
            f"checkpoint {checkpoint.uri}: {which or 'was '}deleted since this run was planned; keep checkpoints until "
            "they are validated (save_total_limit), then trigger a run"
        )


def _first_of(names: list[str]) -> str:
    """Return the first name, the count of the other names, and the verb."""
    return f"{printable(names[0])} was" if len(names) == 1 else f"{printable(names[0])} and {len(names) - 1} more were"


def _fingerprints(checkpoint: Checkpoint) -> set[str | None]:
    """Return the fingerprints of the files at the URI, by the present and by the former rule."""
    uri, base = checkpoint.uri, checkpoint.base
    return {fingerprint(uri, base), former_fingerprint(uri, base)}


def _fingerprint(files: Iterable[tuple[str, int, str]], base: Checkpoint | None) -> str:
    content: list[Any] = list(files)
    return digest(*content, *([base.fingerprint] if base else []))


def _list_contents(uri: str, entries: list[objects.Entry]) -> list[tuple[str, int, str]]:
    """Return the name, the size in bytes and the content's hash or version of each file."""
    with ThreadPoolExecutor(HASHERS) as threads:
        versions = list(threads.map(partial(_content_of, uri), entries))
    return [(entry.key, entry.size, version) for entry, version in zip(entries, versions, strict=True)]


def _is_place(name: str) -> bool:
    """True if the name is a URI, or the absolute path of an existing directory."""
    return "://" in name or (os.path.isabs(name) and os.path.isdir(name))


def _normalise(uri: str) -> str:
    """Return the URI without `..` and double slashes, so that a comparison of prefixes is safe."""
    if not uri:
        return ""
    uri = objects.absolute(uri)
    if not objects.is_s3(uri):
        return os.path.normpath(uri)
    return f"s3://{posixpath.normpath(uri.removeprefix('s3://'))}"


def _is_allowed(base: str, uri: str, base_model: str | None) -> bool:
    if base_model and base == _normalise(base_model):
        return True
    above = [_normalise(folder) for folder in folders_of_bases()]
    above.append(_normalise(uri).rpartition("/")[0])
    return any(folder and base.startswith(f"{folder.rstrip('/')}/") for folder in above)


def _check_adapter(uri: str, sizes: dict[str, int]) -> None:
    if why := lora_config.unsupported_reason(read_json(f"{uri}/{lora_config.CONFIG}", uri)):
        raise InputError(f"checkpoint {uri}: {why}")
    if (more := lora_config.find_further_weights(sizes)) is not None:
        raise InputError(
            f"checkpoint {uri}: {printable(more)} holds weights that were trained beside the adapter, and only the "
            "adapter would be merged; merge both into the base and save the whole model"
        )
    if lora_config.WEIGHTS not in sizes:
        refuse_foreign(uri, sizes)
        raise Incomplete(
            f"checkpoint {uri}: {lora_config.WEIGHTS} is missing; "
            "wait for the upload or save the adapter as safetensors"
        )
    if empty := next((name for name, tensor in _read_weights(uri, sizes).items() if 0 in tensor["shape"]), None):
        raise InputError(f"checkpoint {uri}: {printable(empty, 120)} is of shape [0]: {NOT_GATHERED}")


def _refuse_untied_head(uri: str, config: Config, sizes: dict[str, int]) -> None:
    """Raise InputError if the config ties the head to the embeddings, and the stored head differs from them.

    vLLM would not load this head, and transformers would.
    """
    weights = choose_weights(uri, sizes)
    tied = find_tied_head(config, read_tensors(uri, weights, sizes))
    if tied and not holds_same_values(uri, weights, sizes, *tied):
        raise InputError(
            f"checkpoint {uri}: {tied[1]} is another tensor than {tied[0]}, and config.json ties the two, so vLLM "
            "would not load it; set tie_word_embeddings to false in config.json"
        )


def _read_weights(uri: str, sizes: dict[str, int]) -> dict[str, Tensor]:
    """Return all tensors by name. Raises unless the files are complete and form one set of weights."""
    weights = choose_weights(uri, sizes)
    tensors = read_tensors(uri, weights, sizes)
    refuse_second_set(uri, weights, tensors, sizes)
    return tensors


def _content_of(uri: str, entry: objects.Entry) -> str:
    local = objects.local_path(uri)
    if local is not None:
        return _sha256(local / entry.key)
    return (objects.sha256(f"{uri}/{entry.key}") if entry.has_sha256 else None) or entry.version


def _sha256(path: Path) -> str:
    with open_file(path) as file:  # open, then stat: opening makes a network file system refresh its attributes
        status = os.fstat(file.fileno())
    return _sha256_of(path, (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))


@lru_cache(maxsize=1024)
def _sha256_of(path: Path, state: tuple[int, ...]) -> str:
    """Return the SHA-256 of a file. The file is read once per `state`, which every write changes."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
