"""Choose which files in a checkpoint's folder are the model: its weights, and the files loaded beside them.

`inspect` calls this module in both planes, so that the plan, the fingerprint, the copy on a node and the engine agree.
transformers prefers `model.safetensors` to an index, and vLLM prefers the index. If the two would load different
weights, the folder is refused. Notes, optimizer states and leftover shards in the folder are not loaded and do not
change the fingerprint.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ray_jobs.checkpoints import lora_config
from ray_jobs.checkpoints.config_files import read_index
from ray_jobs.checkpoints.errors import Incomplete
from ray_jobs.checkpoints.files import is_loaded, list_files, read_piece
from ray_jobs.checkpoints.safetensors_header import Tensor, read_header
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable
from ray_jobs.storage import object_listing

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
QUANTISATION = ("quantize_config.json", "quant_config.json", "hf_quant_config.json", "quantization_config.json")
MOST_TENSORS = 500_000  # in all files together; the largest open models have 100,000
PIECES, PIECE_BYTES = 16, 65536
SERIES = re.compile(r"(.*)-(\d{1,6})-of-(\d{1,6})\.safetensors")


@dataclass(frozen=True)
class Weights:
    """The files that hold the tensors, and the file of each tensor if an index names them."""

    files: tuple[str, ...]
    weight_map: Mapping[str, str] | None = None

    @property
    def has_index(self) -> bool:
        return self.weight_map is not None


def is_adapter_folder(names: Iterable[str]) -> bool:
    """True if the files are an adapter. Some trainers also save the base's config.json there, without its weights."""
    names = set(names)
    if lora_config.CONFIG not in names:
        return False
    return "config.json" not in names or (
        lora_config.WEIGHTS in names and not _list_tensor_files(names) and INDEX not in names
    )


def list_loaded(uri: str) -> list[object_listing.Entry]:
    """Return the files that loaders need, sorted by name. Raises as `choose_weights` does."""
    entries = list_files(uri)
    names = {entry.key for entry in entries}
    weights = choose_weights(uri, names)
    left_out = {INDEX} if not weights.has_index else set()
    if is_adapter_folder(names):
        left_out |= {"config.json", *QUANTISATION}  # the trainer's copies of the base's files
    else:
        left_out.add(lora_config.CONFIG)
    return [
        entry
        for entry in entries
        if entry.key in weights.files
        or (is_loaded(entry.key) and not entry.key.endswith(".safetensors") and entry.key not in left_out)
    ]


def list_leftovers(uri: str) -> list[str]:
    """Return weights and indexes in the folder that do not belong to the model. A library might still load them."""
    loaded = {entry.key for entry in list_loaded(uri)}
    return [
        entry.key
        for entry in list_files(uri)
        if entry.key not in loaded and entry.key.endswith((".safetensors", ".safetensors.index.json"))
    ]


def choose_weights(uri: str, names: Iterable[str]) -> Weights:
    """Choose the weights among the names of a checkpoint's files.

    Raises InputError if there are two sets of weights, Incomplete if there are none or their index is missing.
    """
    names = set(names)
    if is_adapter_folder(names):
        return Weights((lora_config.WEIGHTS,))
    tensor_files = _list_tensor_files(names)
    if INDEX in names:
        return _choose_by_index(uri, tensor_files)
    if SINGLE in tensor_files:
        _refuse_adapter(uri, names)
        if second_set := _find_series(tensor_files - {SINGLE}):
            raise InputError(f"checkpoint {uri}: holds two sets of weights ({SINGLE}, and {second_set}): delete one")
        return Weights((SINGLE,))
    if any("-of-" in name for name in tensor_files) and not _is_one_of_one(tensor_files):
        raise Incomplete(f"checkpoint {uri}: {INDEX} is missing; wait for the upload or delete the checkpoint")
    if not tensor_files:
        hint = "; an adapter has no config.json" if lora_config.CONFIG in names else ""
        raise Incomplete(
            f"checkpoint {uri}: no .safetensors file yet; wait for the upload or save as safetensors{hint}"
        )
    _refuse_adapter(uri, names)
    _refuse_consolidated(uri, tensor_files)
    return Weights(tuple(sorted(tensor_files)))


def read_tensors(uri: str, weights: Weights, sizes: dict[str, int]) -> dict[str, Tensor]:
    """Return all tensors of the weights by name, from the headers of the files.

    Raises Incomplete if a file is missing or is not as long as its header says. Raises InputError if two files hold the
    same tensor, or if the index does not name the same tensors as the files hold.
    """
    all_tensors: dict[str, Tensor] = {}
    file_by_tensor: dict[str, str] = {}
    for number, file in enumerate(weights.files, 1):
        subject = f"checkpoint {uri}: " + (
            f"shard {number} of {len(weights.files)}" if len(weights.files) > 1 else file
        )
        if file not in sizes:
            raise Incomplete(f"{subject} is missing ({file}); wait for the upload or delete the checkpoint")
        label = f"{subject} ({file})" if len(weights.files) > 1 else subject
        tensors = _read_complete(f"{uri}/{file}", sizes[file], label)
        if repeated := next((name for name in tensors if name in all_tensors), None):
            raise InputError(
                f"checkpoint {uri}: {printable(repeated, 120)} is in {file_by_tensor[repeated]} and in {file}: files "
                "of two saves are mixed; delete those of one, or save the checkpoint again"
            )
        all_tensors |= tensors
        file_by_tensor |= dict.fromkeys(tensors, file)
        if len(all_tensors) > MOST_TENSORS:
            raise InputError(f"checkpoint {uri}: more than {MOST_TENSORS} tensors; save the checkpoint again")
    if weights.weight_map is not None:
        _compare_with_index(uri, all_tensors, file_by_tensor, weights.weight_map)
    return all_tensors


def refuse_second_set(uri: str, weights: Weights, tensors: Mapping[str, Tensor], sizes: dict[str, int]) -> None:
    """Raise InputError if there is no index, and a file beside the weights holds tensors of the same names.

    A file that is not a readable safetensors file does not count as a set of weights.
    """
    if weights.has_index or weights.files == (lora_config.WEIGHTS,):
        return
    for name in sorted(_list_tensor_files(sizes) - set(weights.files)):
        try:
            others, _ = read_header(f"{uri}/{name}", sizes[name])
        except (InputError, Incomplete):
            continue
        if others.keys() & tensors.keys():
            raise InputError(
                f"checkpoint {uri}: holds two sets of weights ({weights.files[0]}, and {printable(name)}, with tensors "
                "of the same names): delete one"
            )


def holds_same_values(uri: str, weights: Weights, sizes: dict[str, int], first: str, second: str) -> bool:
    """True if two tensors have the same bytes in pieces that are spread over both.

    A tensor that is stored twice passes. A trained copy differs in every row that was trained.
    """
    places = []
    for file in weights.files:
        tensors, start = read_header(f"{uri}/{file}", sizes[file])
        for name in {first, second} & tensors.keys():
            begin, end = tensors[name]["data_offsets"]
            places.append((f"{uri}/{file}", start + begin, end - begin, tensors[name]["dtype"]))
    (first_uri, first_start, size, dtype), (second_uri, second_start, second_size, second_dtype) = places
    if (size, dtype) != (second_size, second_dtype):
        return False
    offsets = {size * number // PIECES for number in range(PIECES)} | {max(0, size - PIECE_BYTES)}
    return all(
        read_piece(first_uri, first_start + offset, min(PIECE_BYTES, size - offset))
        == read_piece(second_uri, second_start + offset, min(PIECE_BYTES, size - offset))
        for offset in sorted(offsets)
    )


def _choose_by_index(uri: str, tensor_files: set[str]) -> Weights:
    weight_map = read_index(uri, INDEX)
    shards = set(weight_map.values())
    present_shards = shards & tensor_files
    if SINGLE in tensor_files and SINGLE not in shards:
        if not present_shards:
            return Weights((SINGLE,))  # the index is from an earlier save, and transformers ignores it
        count = f"{len(shards)}" if present_shards == shards else f"{len(present_shards)} of {len(shards)}"
        raise InputError(
            f"checkpoint {uri}: holds two sets of weights ({SINGLE}, and {count} shards of {INDEX}): delete one"
        )
    if second_set := _find_series(tensor_files - shards):
        raise InputError(
            f"checkpoint {uri}: holds two sets of weights ({second_set}, and {len(shards)} shards of {INDEX}): "
            "delete one"
        )
    return Weights(tuple(sorted(shards)), weight_map)


def _compare_with_index(
    uri: str, tensors: Mapping[str, Tensor], file_by_tensor: Mapping[str, str], weight_map: Mapping[str, str]
) -> None:
    if absent := sorted(weight_map.keys() - tensors.keys()):
        name = absent[0]
        raise InputError(
            f"checkpoint {uri}: {INDEX} names {printable(name, 120)} in {weight_map[name]}, which does not hold it: "
            "index and shards are of two saves; save the checkpoint again"
        )
    if extra := sorted(tensors.keys() - weight_map.keys()):
        name = extra[0]
        raise InputError(
            f"checkpoint {uri}: {file_by_tensor[name]} holds {printable(name, 120)}, which {INDEX} does not name: "
            "index and shards are of two saves; save the checkpoint again"
        )


def _list_tensor_files(names: Iterable[str]) -> set[str]:
    return {name for name in names if name.endswith(".safetensors") and name != lora_config.WEIGHTS}


def _find_series(names: set[str]) -> str | None:
    """Describe a complete series of shards (1 to n of n) among the names, or return None if there is none."""
    numbers: dict[tuple[str, int], set[int]] = {}
    for name in names:
        series = SERIES.fullmatch(name)
        if series and not name.startswith("consolidated"):  # Mistral's own form, beside Hugging Face's
            numbers.setdefault((series[1], int(series[3])), set()).add(int(series[2]))
    for (stem, count), present in sorted(numbers.items()):
        if count and len(present & set(range(1, min(count, len(names)) + 1))) == count:
            return f"{count} shards {printable(stem)}-...-of-{count:05}.safetensors"
    return None


def _is_one_of_one(names: set[str]) -> bool:
    series = [SERIES.fullmatch(name) for name in names]
    return len(names) == 1 and series[0] is not None and (int(series[0][2]), int(series[0][3])) == (1, 1)


def _refuse_adapter(uri: str, names: set[str]) -> None:
    if {lora_config.CONFIG, lora_config.WEIGHTS} <= names:
        raise InputError(
            f"checkpoint {uri}: holds a model and an adapter ({lora_config.WEIGHTS}), and nothing says whether the "
            "one is merged into the other; move the adapter to a folder of its own, or delete one"
        )


def _refuse_consolidated(uri: str, tensor_files: set[str]) -> None:
    second_set = next((name for name in sorted(tensor_files) if name.startswith("consolidated")), None)
    if second_set and len(tensor_files) > 1:
        raise InputError(
            f"checkpoint {uri}: {second_set} beside other weights, and no {INDEX} to choose; delete one of them"
        )


def _read_complete(uri: str, size: int, subject: str) -> dict[str, Tensor]:
    """Return the tensors of a complete file. Raises Incomplete if the file has another length than its header says.

    A safetensors file has 8 bytes of header length, the JSON header, then data up to the largest offset.
    """
    tensors, start = read_header(uri, size, subject)
    expected = start + max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
    if size < expected:
        raise Incomplete(f"{subject}: truncated, {size} of {expected} bytes; wait for the upload or save it again")
    if size > expected:
        raise Incomplete(f"{subject}: {size} bytes, {expected} by its header; wait for the upload or save it again")
    return tensors
