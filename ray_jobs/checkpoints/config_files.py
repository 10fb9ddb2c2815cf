"""Read a checkpoint's JSON files within bounds: its config and its index of weights.

Both planes call this module. Only the fields that Assay reads are checked.
"""

import re
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ray_jobs.checkpoints.errors import Incomplete
from ray_jobs.checkpoints.files import read
from ray_jobs.inputs import lfs_pointers
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable
from ray_jobs.inputs.strict_json import NotJson, parse_object

CONFIG_BYTES, CONFIG_ITEMS = 10_000_000, 200_000
INDEX_BYTES, INDEX_ITEMS = 50_000_000, 500_000
MOST_SHARDS = 2_000
SHARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+@,~-]{0,199}\.safetensors")


class _ForeignModel(BaseModel):
    """Checks only the fields that Assay reads. A file of the model may have any other fields."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Config(_ForeignModel):
    """`config.json`."""

    architectures: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]{1,200}$")]] | None = None
    text_config: dict[str, Any] | None = None
    quantization_config: dict[str, Any] | str | None = None
    compression_config: dict[str, Any] | str | None = None
    vocab_size: Any = None
    hidden_size: Any = None
    tie_word_embeddings: Any = None


class Index(_ForeignModel):
    """`model.safetensors.index.json`: maps the name of each tensor to its file."""

    weight_map: dict[str, str] = {}


Model = TypeVar("Model", bound=BaseModel)


def read_json(uri: str, checkpoint: str, most_bytes: int = CONFIG_BYTES, most_items: int = CONFIG_ITEMS) -> Any:
    """Return the JSON object in a file of the checkpoint.

    Raises Incomplete if the file is gone or is not JSON yet, InputError if it is a Git LFS pointer or breaks a bound.
    """
    subject = f"checkpoint {checkpoint}: {printable(uri.rsplit('/', 1)[-1])}"
    try:
        data = read(uri, most_bytes)
        if lfs_pointers.is_pointer(data):
            raise InputError("is a pointer of Git LFS, not the file (git lfs pull fetches it)")
        return parse_object(data, most_items)
    except FileNotFoundError:
        raise Incomplete(f"{subject} went away while it was read; wait for the upload") from None
    except NotJson as error:
        raise Incomplete(f"{subject} {error}; wait or save it again") from None
    except InputError as error:
        if str(error).startswith(printable(uri)):
            raise InputError(f"checkpoint {checkpoint}: {error}") from None
        raise InputError(f"{subject} {error}; save the checkpoint again") from None


def read_config(checkpoint: str) -> Config:
    """Return the checkpoint's `config.json`. Raises InputError if it belongs to a draft model or has a wrong field."""
    value = read_json(f"{checkpoint}/config.json", checkpoint)
    if value.get("speculators_config"):  # vLLM would load the model that this setting names, from any place
        raise InputError(
            f"checkpoint {checkpoint}: config.json is of a draft model (speculators_config); name the model"
        )
    return _validate(Config, value, "config.json", checkpoint)


def read_index(checkpoint: str, index: str) -> dict[str, str]:
    """Return the file name of each tensor by the tensor's name, as the index says."""
    value = read_json(f"{checkpoint}/{index}", checkpoint, INDEX_BYTES, INDEX_ITEMS)
    weight_map = _validate(Index, value, index, checkpoint).weight_map
    shards = sorted(set(weight_map.values()))
    if not shards:
        raise InputError(f"checkpoint {checkpoint}: {index} names no shards; save the checkpoint again")
    if len(shards) > MOST_SHARDS:
        raise InputError(f"checkpoint {checkpoint}: {index} names {len(shards)} shards, more than {MOST_SHARDS}")
    if (bad_shard := next((shard for shard in shards if not SHARD.fullmatch(shard)), None)) is not None:
        raise InputError(
            f"checkpoint {checkpoint}: {index} names {printable(bad_shard)!r}, which is no .safetensors file beside "
            "it; save the checkpoint again"
        )
    return weight_map


def _validate(model: type[Model], value: Any, file: str, checkpoint: str) -> Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field_path = printable(".".join(map(str, fault["loc"])), 80)
        raise InputError(
            f"checkpoint {checkpoint}: {file}: {field_path}: {printable(fault['msg'], 120)}; save the checkpoint again"
        ) from None
