"""Reads and writes parts: Parquet files of a few hundred rows, the unit of work, retry and resume.

The jobs call it; it needs pyarrow, so the control plane does not. A part is written once, whole, and only where there
is none: if it exists it is done, and two writers cannot disagree. The footer of a part says how many rows it lost, and
why. `manifests` lists the parts.
"""

import io
import json
import os
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3

from ray_jobs.contract.artifacts import Manifest, Part
from ray_jobs.contract.stored_model import SCHEMA, NewerSchema, check_schema
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.storage import object_listing, objects, uris
from ray_jobs.storage.arrow_files import open_arrow
from ray_jobs.storage.arrow_guard import check_own
from ray_jobs.storage.manifests import load_manifest, parts_folder_of, require_on_node, uri_of_manifest, uri_of_part

FOOTER = b"assay"


def write(stage_uri: str, name: str, table: pa.Table, footer: dict[str, Any], folder: str = "parts") -> Part:
    """Write one part. Returns the description of the part that exists afterwards, because another writer may have
    been first."""
    return write_and_describe(stage_uri, name, table, footer, folder)[0]


def write_and_describe(
    stage_uri: str, name: str, table: pa.Table, footer: dict[str, Any], folder: str = "parts"
) -> tuple[Part, dict[str, Any]]:
    """Does what `write` does. Returns the description and the footer of the part that exists afterwards."""
    data = encode(table, footer)
    uri = uri_of_part(stage_uri, name, folder)
    if not objects.create(uri, data):
        data = objects.read(uri)
    return describe(name, data), decode_footer(data)


def encode(table: pa.Table, footer: dict[str, Any]) -> bytes:
    """Returns the bytes of a part's Parquet file: the same for the same rows and footer.

    Binary columns are not compressed: their images are compressed already.
    """
    table = table.replace_schema_metadata({FOOTER: json.dumps({"schema": SCHEMA} | footer).encode()})
    leaves = dict(leaf for field in table.schema for leaf in _leaves(field.name, field.type))
    texts = [leaf for leaf, kind in leaves.items() if not pa.types.is_binary(kind)]
    codecs = {leaf: "ZSTD" if leaf in texts else "NONE" for leaf in leaves}
    sink = pa.BufferOutputStream()  # an io.BytesIO takes six times as long
    pq.write_table(table, sink, compression=codecs, use_dictionary=texts, write_statistics=texts)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def write_file(uri: str, table: pa.Table) -> None:
    """Write a Parquet file that is not a part, and replace the file that was there."""
    objects.write(uri, encode(table, {}))


def describe(name: str, data: bytes) -> Part:
    """Returns the part's entry in a manifest: its rows, the rows it lost by reason, and the BLAKE3 of its bytes."""
    metadata = pq.ParquetFile(io.BytesIO(data)).metadata
    lost = _footer(metadata).get("lost", {})
    return Part(name=name, rows=metadata.num_rows, lost=lost, blake3=blake3(data).hexdigest())


def decode(data: bytes, columns: Sequence[str] | None = None, uri: str = "") -> pa.Table:
    """Returns the rows of a part with these bytes, which were read at the URI. Raises NewerSchema."""
    check_own(io.BytesIO(data), uri or "a part")
    return _of_this_schema(_read_table(io.BytesIO(data), columns), uri)


def _read_table(file: Any, columns: Sequence[str] | None) -> pa.Table:
    """Returns the rows, without Arrow's threads: a process that ended soon after they read could abort at its exit."""
    wanted = None if columns is None else list(columns)
    return pq.read_table(file, columns=wanted, use_threads=False, pre_buffer=False)


def read(
    stage_uri: str,
    name: str,
    columns: Sequence[str] | None = None,
    folder: str | None = None,
    manifest: Manifest | None = None,
) -> pa.Table:
    """Returns the rows of a part. Its folder is `folder`, or else the folder of `manifest` or the stage's manifest.

    Raises InputError when the part that the manifest names is missing or has other bytes. Raises RetryableError when no
    manifest names a missing part, when the part is not readable, and when the stage's manifest changed meanwhile.
    """
    manifest = (manifest or _load_current_manifest(stage_uri)) if folder is None else None
    uri = uri_of_part(stage_uri, name, folder or parts_folder_of(manifest))
    try:
        data = objects.read(uri)
        _compare(stage_uri, name, manifest, uri, blake3(data).hexdigest)
        return decode(data, columns, uri)
    except FileNotFoundError:
        raise _explain_missing(stage_uri, name, manifest, uri) from None
    except pa.ArrowInvalid as error:
        raise _explain_unreadable(uri, error) from None


def read_columns(stage_uri: str, name: str, names: Sequence[str]) -> pa.Table:
    """Returns these columns of a part. Of a golden part only their bytes are read, because the rest are images.

    In a directory the whole file is still compared with the manifest, once per process. On S3 a golden part is compared
    when its images are read. Raises what `read` raises.
    """
    manifest = _load_current_manifest(stage_uri)
    if manifest and manifest.stage != "golden":
        return read(stage_uri, name, names, manifest=manifest)
    uri = uri_of_part(stage_uri, name, parts_folder_of(manifest))
    try:
        if manifest and not uris.is_s3(uri):
            _compare(stage_uri, name, manifest, uri, lambda: _blake3_of(uri, *_state(uri)))
        with open_arrow(uri) as file:
            check_own(file, uri)
            return _of_this_schema(_read_table(file, names), uri)
    except FileNotFoundError:
        raise _explain_missing(stage_uri, name, manifest, uri) from None
    except (OSError, pa.ArrowException) as error:
        raise _explain_unreadable(uri, error) from None


def _load_current_manifest(stage_uri: str) -> Manifest | None:
    """Returns the stage's manifest. Parses it again only when the file has changed, because stages have many parts."""
    entry = object_listing.find_entry(uri_of_manifest(stage_uri))
    return _load_cached(stage_uri, entry.size, entry.version) if entry else None


@lru_cache(maxsize=32)
def _load_cached(stage_uri: str, _size: int, _version: str) -> Manifest | None:
    return load_manifest(stage_uri)


def _compare(stage_uri: str, name: str, manifest: Manifest | None, uri: str, compute: Callable[[], str]) -> None:
    """Raises InputError when a part has other bytes than the manifest states."""
    stated = _find_part(manifest, name) if manifest else None
    if stated and compute() != stated.blake3:
        _check_unchanged(stage_uri, manifest)
        raise InputError(
            f"{uri}: not the part that its manifest names (another BLAKE3): replaced or cut short; restore it, or "
            f"delete it and {stage_uri}/manifest.json, then rerun the stage"
        )


def _find_part(manifest: Manifest, name: str) -> Part | None:
    """Returns the manifest's part of this name. A stage reads each part, so the search must not visit all parts."""
    place = bisect_left(manifest.parts, name, key=lambda part: part.name)  # `build_manifest` sorts them
    if place < len(manifest.parts) and manifest.parts[place].name == name:
        return manifest.parts[place]
    return next((part for part in manifest.parts if part.name == name), None)


def _explain_missing(stage_uri: str, name: str, manifest: Manifest | None, uri: str) -> Exception:
    if local := uris.local_path(stage_uri):
        require_on_node(str(local.parent))
    if manifest is None or name not in {part.name for part in manifest.parts}:
        return RetryableError(f"{uri}: the part is missing, and no manifest names it; rerun the stage")
    _check_unchanged(stage_uri, manifest)
    return InputError(
        f"{uri}: the part is missing though its manifest names it; restore it (a root that is a directory must be one "
        f"that all nodes share), or delete {stage_uri}/manifest.json and rerun the stage"
    )


def _explain_unreadable(uri: str, error: Exception) -> RetryableError:
    reason = " ".join(str(error).split())
    if column := re.match(r"No match for FieldRef\.Name\((.+?)\) in ", reason):
        return RetryableError(
            f"{uri}: it has no column {column[1]}, because another version of the stage wrote it; delete it and its "
            "manifest, then rerun (if you changed the stage's code, raise its version in ray_jobs/contract/spec.py)"
        )
    return RetryableError(f"{uri}: not readable as Parquet ({reason}); delete it and its manifest, then rerun")


def _check_unchanged(stage_uri: str, manifest: Manifest | None) -> None:
    """Raises RetryableError when the stage has another manifest by now, because its parts may have changed too."""
    if load_manifest(stage_uri) != manifest:
        raise RetryableError(f"{stage_uri}: made anew while it was read; try again")


def _state(uri: str) -> tuple[int, ...]:
    status = os.stat(str(uris.local_path(uri)))
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@lru_cache(maxsize=65536)  # the parts of some golden sets of millions of images
def _blake3_of(uri: str, *_state: int) -> str:
    objects.require_regular(uri)
    return blake3().update_mmap(str(uris.local_path(uri))).hexdigest()


def decode_footer(data: bytes) -> dict[str, Any]:
    """Returns the footer that `write` put into the part with these bytes."""
    return _footer(pq.ParquetFile(io.BytesIO(data)).metadata)


def read_footer(uri: str) -> dict[str, Any]:
    """Returns the footer of the part at a URI, without reading its rows."""
    with open_arrow(uri) as file:
        return _footer(pq.read_metadata(file))


def _footer(metadata: pq.FileMetaData) -> dict[str, Any]:
    return footer_of_metadata(metadata.metadata)


def footer_of_metadata(metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    """Returns Assay's footer in the metadata of a Parquet file, without its schema version. Raises NewerSchema."""
    footer: dict[str, Any] = json.loads((metadata or {}).get(FOOTER, b"{}"))
    check_schema(footer.pop("schema", SCHEMA))
    return footer


def _of_this_schema(table: pa.Table, uri: str) -> pa.Table:
    try:
        footer_of_metadata(table.schema.metadata)
    except NewerSchema as newer:
        raise NewerSchema(f"{uri}: {newer}") from None
    return table


def _leaves(name: str, kind: pa.DataType) -> Iterator[tuple[str, pa.DataType]]:
    """Yields the names and types of the Parquet columns that a column of this type is written as."""
    if pa.types.is_list(kind):
        yield from _leaves(f"{name}.list.element", kind.value_type)
    elif pa.types.is_struct(kind):
        for field in kind:
            yield from _leaves(f"{name}.{field.name}", field.type)
    else:
        yield name, kind
