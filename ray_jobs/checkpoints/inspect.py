"""Check whether a checkpoint in storage is complete, and resolve its URI to a checkpoint with a fingerprint.

A checkpoint is complete if it has a config and every shard that the index names, and each shard is as long as its
safetensors header says. A LoRA adapter with its base model is a checkpoint too. It is complete if its config and its
weights are, and it is loaded as a merged copy.

The sensor that waits for an upload, the router, `plan` and the jobs call this module. None of them trusts the result of
another. Every public function returns, or raises InputError, Incomplete or RetryableError (see `checkpoints.errors`).
"""

import logging

from ray_jobs.checkpoints import lora_config
from ray_jobs.checkpoints.adapter_base import find_base
from ray_jobs.checkpoints.config_files import Config, read_config, read_json
from ray_jobs.checkpoints.errors import Incomplete, NeverWhole, translates_errors
from ray_jobs.checkpoints.files import list_files
from ray_jobs.checkpoints.fingerprints import with_fingerprint
from ray_jobs.checkpoints.layouts import refuse_foreign, refuse_without_config, refuse_without_tokenizer
from ray_jobs.checkpoints.quantization import find_quantization
from ray_jobs.checkpoints.safetensors_header import Tensor
from ray_jobs.checkpoints.shapes import NOT_GATHERED, find_misfit, find_tied_head, is_head_tied
from ray_jobs.checkpoints.weights import (
    QUANTISATION,
    choose_weights,
    holds_same_values,
    is_adapter_folder,
    list_leftovers,
    list_loaded,
    read_tensors,
    refuse_second_set,
)
from ray_jobs.contract.ids import name_of
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import check_name, printable
from ray_jobs.storage import uris

log = logging.getLogger("assay")

TOKENIZERS = {"tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "tekken.json"}
DOWNLOADS = (".aria2",)  # marks a download that has not ended: the file beside it has its full size already, with holes


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
    if marker := next((name for name in sizes if name.endswith(DOWNLOADS) and name.rpartition(".")[0] in sizes), None):
        raise Incomplete(
            f"checkpoint {uri}: {printable(marker)} is there, so the download of "
            f"{printable(marker.rpartition('.')[0])} has not ended; wait for it, or start it again"
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
def resolve(uri: str, base_model: str | None = None) -> Checkpoint:
    """Return the checkpoint at a URI with its fingerprint, and with its base if it is an adapter (`find_base`).

    Raises what `require_complete` raises, for the checkpoint and for its base.
    """
    uri = uris.make_absolute(uri)
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


def _check_adapter(uri: str, sizes: dict[str, int]) -> None:
    if reason := lora_config.explain_unsupported(read_json(f"{uri}/{lora_config.CONFIG}", uri)):
        raise InputError(f"checkpoint {uri}: {reason}")
    if (further_weights := lora_config.find_further_weights(sizes)) is not None:
        raise InputError(
            f"checkpoint {uri}: {printable(further_weights)} holds weights that were trained beside the adapter, and "
            "only the adapter would be merged; merge both into the base and save the whole model"
        )
    if lora_config.WEIGHTS not in sizes:
        refuse_foreign(uri, sizes)
        raise Incomplete(
            f"checkpoint {uri}: {lora_config.WEIGHTS} is missing; "
            "wait for the upload or save the adapter as safetensors"
        )
    if empty_tensor := next((name for name, tensor in _read_weights(uri, sizes).items() if 0 in tensor["shape"]), None):
        raise InputError(f"checkpoint {uri}: {printable(empty_tensor, 120)} is of shape [0]: {NOT_GATHERED}")


def _refuse_untied_head(uri: str, config: Config, sizes: dict[str, int]) -> None:
    """Raise InputError if the config ties the head to the embeddings, and the stored head differs from them.

    vLLM would not load this head, and transformers would.
    """
    weights = choose_weights(uri, sizes)
    pair = find_tied_head(config, read_tensors(uri, weights, sizes))
    if pair and not holds_same_values(uri, weights, sizes, *pair):
        raise InputError(
            f"checkpoint {uri}: {pair[1]} is another tensor than {pair[0]}, and config.json ties the two, so vLLM "
            "would not load it; set tie_word_embeddings to false in config.json"
        )


def _read_weights(uri: str, sizes: dict[str, int]) -> dict[str, Tensor]:
    """Return all tensors by name. Raises unless the files are complete and form one set of weights."""
    weights = choose_weights(uri, sizes)
    tensors = read_tensors(uri, weights, sizes)
    refuse_second_set(uri, weights, tensors, sizes)
    return tensors
