"""A checkpoint in storage: is it whole, and which one is it.

Whole means: a config, every shard that the index names, each shard as long as its safetensors header says. A LoRA
adapter is one too, with its base model: whole when its config and its weights are, loaded as a merged copy. The sensor
that waits for an upload, the router, `plan` and the caption job call this module; none of them trusts another. Whatever
lies at the URI, they get an answer, InputError, Incomplete or RetryableError (`checkpoint_files` says how).
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
DOWNLOADS = (".aria2",)  # stands beside a file that already has its full size, with holes in it
HASHERS = 8  # files hashed at once


@translates_errors
def require_complete(uri: str) -> dict[str, int]:
    """Sizes by file name of a whole checkpoint.

    Raises Incomplete while files are missing or short, as they are during an upload, and InputError for what waiting
    cannot mend: a name that no later use can bear, a config that is no object, an architecture left unnamed, a header
    that is not safetensors, two sets of weights, weights that do not fit the config. NeverWhole, which is one, where a
    trainer's folder holds another form of a model.
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
        _read_weights(uri, sizes)  # while they are not whole, neither is the upload
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
    """Whether there is an adapter at the URI, and not a model of its own."""
    return is_adapter_folder(entry.key for entry in list_files(uri))


@translates_errors
def find_base(uri: str, base_model: str | None = None) -> str | None:
    """The URI of the model that an adapter changes, None for a checkpoint that is no adapter.

    It is what adapter_config.json names, when that is a URI or the absolute path of a directory that is there, else
    `base_model`, the suite's. Raises InputError where there is neither, and where the adapter names another place than
    its own parent folder, the suite's base, or one below ASSAY_CHECKPOINTS or ASSAY_BASES: an adapter must not choose
    what the cluster opens.
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
    """The checkpoint at a URI with its fingerprint, an adapter's with its base (`find_base`).

    Raises what `require_complete` raises, of the base too.
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
    """The checkpoint that `require_complete` has found at a URI, over the base that `resolve` has found."""
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
    """A hash over the content of the files that a model is loaded from; equal for a copy under another name.

    On S3 the content is known by the SHA-256 that the store keeps, where the upload gave one, else by its ETag, an MD5;
    neither costs a read. In a directory it is known by SHA-256.
    """
    return _fingerprint(_list_contents(uri, list_loaded(uri)), base)


@translates_errors
def former_fingerprint(uri: str, base: Checkpoint | None = None) -> str | None:
    """The checkpoint's fingerprint as it was when notes beside the model counted; None where none did."""
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
    """How the weights of a checkpoint are quantised where they are stored, None when they are not.

    Its config says so, or its text model's, or a file of ModelOpt's: where vLLM looks.
    """
    if method := find_quantization(read_config(uri)):
        return method
    return "modelopt" if any(entry.key == "hf_quant_config.json" for entry in list_files(uri)) else None


@translates_errors
def sidecar_files(checkpoint: Checkpoint) -> dict[str, str]:
    """URIs by name of what is loaded beside the weights: the base's where an adapter has no such file of its own."""
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
    """Raises InputError when a file that was planned is not there any more; one listing, nothing is opened."""
    if checkpoint.base:
        check_present(checkpoint.base)
    if checkpoint.files:
        there = {entry.key for entry in list_files(checkpoint.uri)}
        _refuse_deleted(checkpoint, [name for name, _ in checkpoint.files if name not in there])


@translates_errors
def verify(checkpoint: Checkpoint) -> None:
    """Raises InputError when what is at the URI is no longer the checkpoint that was planned."""
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
    """The first name and the verb, the others counted."""
    return f"{printable(names[0])} was" if len(names) == 1 else f"{printable(names[0])} and {len(names) - 1} more were"


def _fingerprints(checkpoint: Checkpoint) -> set[str | None]:
    """The fingerprint of what is there, by either rule."""
    uri, base = checkpoint.uri, checkpoint.base
    return {fingerprint(uri, base), former_fingerprint(uri, base)}


def _fingerprint(files: Iterable[tuple[str, int, str]], base: Checkpoint | None) -> str:
    content: list[Any] = list(files)
    return digest(*content, *([base.fingerprint] if base else []))


def _list_contents(uri: str, entries: list[objects.Entry]) -> list[tuple[str, int, str]]:
    """Name, size and what tells the content of each file."""
    with ThreadPoolExecutor(HASHERS) as threads:
        versions = list(threads.map(partial(_content_of, uri), entries))
    return [(entry.key, entry.size, version) for entry, version in zip(entries, versions, strict=True)]


def _is_place(name: str) -> bool:
    """Whether a base is named by a URI, or by the absolute path of a directory that is here."""
    return "://" in name or (os.path.isabs(name) and os.path.isdir(name))


def _normalise(uri: str) -> str:
    """The URI without `..` and double slashes, so that what it begins with says where it is."""
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
    """vLLM loads no head where the config ties it to the embeddings, and transformers does where it is another."""
    weights = choose_weights(uri, sizes)
    tied = find_tied_head(config, read_tensors(uri, weights, sizes))
    if tied and not holds_same_values(uri, weights, sizes, *tied):
        raise InputError(
            f"checkpoint {uri}: {tied[1]} is another tensor than {tied[0]}, and config.json ties the two, so vLLM "
            "would not load it; set tie_word_embeddings to false in config.json"
        )


def _read_weights(uri: str, sizes: dict[str, int]) -> dict[str, Tensor]:
    """All tensors by name, of files that are whole and one set."""
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
    with open_file(path) as file:  # opened first: a network file system looks anew at a file that is opened
        status = os.fstat(file.fileno())
    return _sha256_of(path, (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))


@lru_cache(maxsize=1024)
def _sha256_of(path: Path, state: tuple[int, ...]) -> str:
    """The hash of a file, read once as long as its `state` is the same; any write changes that."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
