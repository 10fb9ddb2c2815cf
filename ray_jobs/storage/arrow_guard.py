"""Refuses Arrow's extension types: reading such a column may run code that lies in the file.

Ray registers a type that unpickles each value, and types whose parameters are computed from the file's schema.
`sources` and `parts` call this before they open a file and before they take values out of a batch. Nothing here opens a
schema before the bytes of the schema have been looked at.
"""

import base64
import os
import struct
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from ray_jobs.inputs.errors import InputError

NAME = b"ARROW:extension:name"
MOST_SCHEMA_BYTES = 64 * 2**20
DEPTH = 64


def refuse_extensions(schema: pa.Schema, columns: Iterable[str] | None, where: str) -> None:
    """Raise InputError for one of these columns, or for any column when None, that has an extension type at any
    depth."""
    wanted = None if columns is None else set(columns)
    for field in schema:
        if (wanted is None or field.name in wanted) and (name := extension_of(field)):
            raise InputError(
                f"dataset {where}: column {field.name!r} has the Arrow extension type {name!r}, which is not read "
                "because it may run code; write the column again with a plain type (bytes, text, numbers, lists)"
            )


def check_batch(batch: pa.RecordBatch, where: str) -> None:
    """Raise InputError, or Arrow's error, when values of the batch may not be taken out.

    Offsets are believed else: those of a damaged file lead anywhere in memory.
    """
    refuse_extensions(batch.schema, None, where)
    batch.validate(full=True)


def extension_of(field: pa.Field, depth: int = 0) -> str | None:
    """The name of the extension type that the field or a field below it has, None when none has one."""
    if name := (field.metadata or {}).get(NAME):
        return str(name.decode("utf-8", "backslashreplace"))[:100]
    kind = field.type
    if isinstance(kind, pa.BaseExtensionType):
        return str(kind.extension_name)[:100]
    if depth == DEPTH:
        return "nested too deep"
    return next((name for below in _below(kind) if (name := extension_of(below, depth + 1))), None)


def check_parquet(file: Any, where: str) -> None:
    """Raise InputError when opening this Parquet file would run code; leave the file at its start."""
    if _holds(_footer(file), b"ray.data."):
        _refuse_computed(where)


def check_ipc(file: Any, where: str) -> None:
    """Raise InputError when opening this Arrow IPC file, or stream, would run code; leave the file at its start."""
    size = file.seek(0, 2) or file.tell()
    for start, length in _schemas(file, size):
        if not 0 <= length <= min(size, MOST_SCHEMA_BYTES):
            continue  # no schema of Arrow's: its reader will say so
        file.seek(start)
        if b"ray.data." in file.read(length):
            _refuse_computed(where)
    file.seek(0)


def check_own(file: Any, uri: str) -> None:
    """Raise InputError when a Parquet file that Assay should have written has a column that is not of a plain type."""
    if _holds(_footer(file), NAME):
        raise InputError(f"{uri}: has a column of an Arrow extension type, so Assay did not write it; delete it, rerun")


def _footer(file: Any) -> bytes:
    """The footer of a Parquet file as it is; pyarrow's `read_metadata` would build the schema. Leaves it at its start.

    A file that is no Parquet file has an empty one: its reader says what is wrong.
    """
    size = file.seek(0, 2) or file.tell()
    file.seek(max(size - 8, 0))
    tail = file.read(8)
    length = struct.unpack("<I", tail[:4])[0] if len(tail) == 8 else 0
    if MOST_SCHEMA_BYTES < length <= size:
        raise InputError(f"a Parquet file has a footer of {length} bytes, over {MOST_SCHEMA_BYTES}; split it")
    file.seek(max(size - 8 - length, 0))
    footer: bytes = file.read(length)
    file.seek(0)
    return footer


def _holds(footer: bytes, text: bytes) -> bool:
    """Whether base64 text in the footer, as Arrow keeps its schema there, holds the text at any alignment."""
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + text + b"\0" * 3)
        first, last = -(-shift * 4 // 3), (shift + len(text)) * 4 // 3
        if whole[first:last] in footer:
            return True
    return False


def _refuse_computed(where: str) -> None:
    """Ray's tensor types unpickle their own parameters when a schema is built, where this variable allows it."""
    if os.environ.get("RAY_DATA_AUTOLOAD_CLOUDPICKLE_TENSOR_METADATA"):
        raise InputError(
            f"dataset {where}: a column has one of Ray's Arrow extension types, and "
            "RAY_DATA_AUTOLOAD_CLOUDPICKLE_TENSOR_METADATA lets it run code; unset the variable"
        )


def _below(kind: pa.DataType) -> list[pa.Field]:
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return [pa.field("values", kind.value_type)]
    return [kind.field(index) for index in range(kind.num_fields)]


def _schemas(file: Any, size: int) -> list[tuple[int, int]]:
    """Where the schemas of an IPC file lie: that of its first message, and in its footer."""
    file.seek(0)
    head = file.read(16)
    start = 8 if head.startswith(b"ARROW1") else 0
    words = struct.unpack("<ii", head[start : start + 8].ljust(8, b"\0"))
    places = [(start + 8, words[1]) if words[0] == -1 else (start + 4, words[0])]
    file.seek(max(size - 10, 0))
    tail = file.read(10)
    if tail.endswith(b"ARROW1"):
        (length,) = struct.unpack("<i", tail[:4])
        places.append((size - 10 - length, length))
    return places
