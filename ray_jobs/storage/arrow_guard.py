"""Refuses Arrow's extension types: reading such a column may run code that lies in the file.

Ray registers a type that unpickles each value, and types whose parameters are computed from the file's schema.
The sources and `storage.parts` call this before they open a file and before they take values out of a batch. No
function here builds a schema before it has checked the bytes of the schema.
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
    """Raises InputError if one of these columns, or any column when None, has an extension type at any depth."""
    wanted = None if columns is None else set(columns)
    for field in schema:
        if (wanted is None or field.name in wanted) and (name := extension_of(field)):
            raise InputError(
                f"dataset {where}: column {field.name!r} has the Arrow extension type {name!r}, which is not read "
                "because it may run code; write the column again with a plain type (bytes, text, numbers, lists)"
            )


def check_batch(batch: pa.RecordBatch, where: str) -> None:
    """Raises InputError, or Arrow's error, when values of the batch must not be taken out.

    Arrow trusts offsets otherwise, and the offsets of a damaged file lead anywhere in memory.
    """
    refuse_extensions(batch.schema, None, where)
    batch.validate(full=True)


def extension_of(field: pa.Field, depth: int = 0) -> str | None:
    """Returns the name of the extension type of the field or of a field below it, None if there is none."""
    if name := (field.metadata or {}).get(NAME):
        return str(name.decode("utf-8", "backslashreplace"))[:100]
    kind = field.type
    if isinstance(kind, pa.BaseExtensionType):
        return str(kind.extension_name)[:100]
    if depth == DEPTH:
        return "nested too deep"
    return next((name for child in _list_child_fields(kind) if (name := extension_of(child, depth + 1))), None)


def check_parquet(file: Any, where: str) -> None:
    """Raises InputError if opening this Parquet file would run code. Leaves the file at its start."""
    if _contains(_read_footer(file), b"ray.data."):
        _refuse_computed(where)


def check_ipc(file: Any, where: str) -> None:
    """Raises InputError if opening this Arrow IPC file or stream would run code. Leaves the file at its start."""
    size = file.seek(0, 2) or file.tell()
    for start, length in _find_schemas(file, size):
        if not 0 <= length <= min(size, MOST_SCHEMA_BYTES):
            continue  # not a schema of Arrow: Arrow's reader reports that
        file.seek(start)
        if b"ray.data." in file.read(length):
            _refuse_computed(where)
    file.seek(0)


def check_own(file: Any, uri: str) -> None:
    """Raises InputError if a Parquet file that Assay should have written has a column of an extension type."""
    if _contains(_read_footer(file), NAME):
        raise InputError(f"{uri}: has a column of an Arrow extension type, so Assay did not write it; delete it, rerun")


def _read_footer(file: Any) -> bytes:
    """Returns the raw footer of a Parquet file, and leaves the file at its start.

    pyarrow's `read_metadata` would build the schema. For a file that is no Parquet file the bytes mean nothing:
    Arrow's reader reports that fault. Raises InputError for a footer over MOST_SCHEMA_BYTES.
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


def _contains(footer: bytes, text: bytes) -> bool:
    """Whether the footer holds the text in base64, at any alignment: Arrow keeps its schema there in base64."""
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + text + b"\0" * 3)
        first, last = -(-shift * 4 // 3), (shift + len(text)) * 4 // 3
        if whole[first:last] in footer:
            return True
    return False


def _refuse_computed(where: str) -> None:
    """Raises InputError if this variable lets Ray's tensor types unpickle their parameters while a schema is built."""
    if os.environ.get("RAY_DATA_AUTOLOAD_CLOUDPICKLE_TENSOR_METADATA"):
        raise InputError(
            f"dataset {where}: a column has one of Ray's Arrow extension types, and "
            "RAY_DATA_AUTOLOAD_CLOUDPICKLE_TENSOR_METADATA lets it run code; unset the variable"
        )


def _list_child_fields(kind: pa.DataType) -> list[pa.Field]:
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return [pa.field("values", kind.value_type)]
    return [kind.field(index) for index in range(kind.num_fields)]


def _find_schemas(file: Any, size: int) -> list[tuple[int, int]]:
    """Returns the start and length, in bytes, of the first message of an IPC file and of the footer, if there is one.

    Both hold a schema.
    """
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
