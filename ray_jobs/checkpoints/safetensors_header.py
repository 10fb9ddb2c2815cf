"""Read the header of a safetensors file within bounds: the name, type, shape and place of each tensor.

Both planes call this module. Parsing a header at its limits takes about 150 MB of memory.
"""

import math
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from ray_jobs.checkpoints.errors import Incomplete, translates_errors
from ray_jobs.checkpoints.files import read_piece
from ray_jobs.inputs import lfs_pointers
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable
from ray_jobs.inputs.strict_json import parse_object

HEADER_BYTES, HEADER_ITEMS = 25_000_000, 1_000_000  # the format allows 100 MB, but parsing that needs 1 GB of memory
FORMAT_LIMIT = 100_000_000  # safetensors' own limit on a header
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "I16": 16, "U16": 16, "I32": 32, "U32": 32, "I64": 64, "U64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
}  # fmt: skip
Count = Annotated[int, Field(strict=True, ge=0, lt=2**63)]


@with_config(ConfigDict(extra="forbid"))
class Tensor(TypedDict):
    """A tensor in a safetensors header. `data_offsets` are bytes from the end of the header: start, exclusive end."""

    dtype: str
    shape: Annotated[list[Count], Field(max_length=32)]
    data_offsets: Annotated[list[Count], Field(min_length=2, max_length=2)]


_TENSORS = TypeAdapter(dict[str, Tensor])
_METADATA = TypeAdapter(dict[str, str] | None)


@translates_errors
def read_header(uri: str, size: int, subject: str = "") -> tuple[dict[str, Tensor], int]:
    """Return the tensors of a safetensors file of `size` bytes by name, and the offset in bytes at which data begins.

    Raises Incomplete while the file is shorter than its header, and InputError if it is not a safetensors file.
    `subject` names the file in messages.
    """
    subject = subject or printable(uri)
    if size < 8:
        raise Incomplete(f"{subject}: {size} bytes, shorter than a header; wait for the upload or save it again")
    length = int.from_bytes(read_piece(uri, 0, 8), "little")
    if lfs_pointers.is_pointer(read_piece(uri, 0, len(lfs_pointers.PREFIX))):
        raise InputError(f"{subject}: {lfs_pointers.REMEDY}")
    if length > FORMAT_LIMIT:
        raise InputError(f"{subject}: not a safetensors file; save the checkpoint again")
    if length > HEADER_BYTES:
        raise InputError(f"{subject}: its header has {length} bytes, more than {HEADER_BYTES}; save it in more shards")
    if size < 8 + length:
        raise Incomplete(f"{subject}: truncated inside its header ({size} bytes); wait for the upload or save it again")
    try:
        value = parse_object(read_piece(uri, 8, length), HEADER_ITEMS)
        _METADATA.validate_python(value.pop("__metadata__", None), strict=True)
        tensors = _TENSORS.validate_python(value, strict=True)
        _check_tensors(tensors)
    except InputError as error:
        raise InputError(f"{subject}: its header {error}; save the checkpoint again") from None
    except ValueError:
        raise InputError(f"{subject}: its header is not readable; save the checkpoint again") from None
    return tensors, 8 + length


def _check_tensors(tensors: dict[str, Tensor]) -> None:
    """Raise InputError unless the tensors fill the data without gaps or overlaps, as safetensors demands."""
    end = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1]["data_offsets"]):
        start, stop = tensor["data_offsets"]
        bits = BITS.get(tensor["dtype"])
        if bits is None:
            raise InputError(f"has a tensor of dtype {printable(tensor['dtype'], 40)!r}, which is unknown")
        if start != end or (stop - start) * 8 != math.prod(tensor["shape"]) * bits:
            raise InputError(f"gives {printable(name, 80)!r} a place that does not fit its shape, or another's")
        end = stop
