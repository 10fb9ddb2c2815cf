"""Parts: the Parquet files of a few hundred rows that work, retry and resume are counted in.

A part is written once, whole, and only where there is none, so its existence means it is done and two writers cannot
disagree. What a part lost, and why, travels inside it in the footer. The manifest, written last, lists the parts.
"""

import io
import json
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3

from ray_jobs.contract.artifacts import Manifest, Part
from ray_jobs.contract.ids import digest, slug
from ray_jobs.contract.stored_model import SCHEMA, NewerSchema, check_schema
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.storage import json_files, objects
from ray_jobs.storage.arrow_files import open_arrow
from ray_jobs.storage.arrow_guard import check_own
from ray_jobs.storage.error_lines import show_uri

FOOTER = b"assay"
SHARE = "use s3://, or mount one file system there on every node"


def name_of_part(index: int) -> str:
    return f"part-{index:05d}"


def uri_of_part(stage_uri: str, name: str, folder: str = "parts") -> str:
    return f"{stage_uri}/{folder}/{name}.parquet"


def done(stage_uri: str, folder: str = "parts") -> set[str]:
    """Names of the parts that are there."""
    return {
        entry.key.removesuffix(".parquet")
        for entry in objects.entries(f"{stage_uri}/{folder}")
        if entry.key.endswith(".parquet")
    }


def write(stage_uri: str, name: str, table: pa.Table, footer: dict[str, Any], folder: str = "parts") -> Part:
    """Write one part; where another writer was first, its part stands and is the one described."""
    data = encoded(table, footer)
    uri = uri_of_part(stage_uri, name, folder)
    if not objects.create(uri, data):
        data = objects.read(uri)
    return describe(name, data)


def encoded(table: pa.Table, footer: dict[str, Any]) -> bytes:
    """The file of a part: the same bytes for the same rows and footer."""
    return _parquet(table.replace_schema_metadata({FOOTER: json.dumps({"schema": SCHEMA} | footer).encode()}))


def write_file(uri: str, table: pa.Table) -> None:
    """Write a Parquet file that is not a part: it replaces what was there."""
    objects.write(uri, encoded(table, {}))


def describe(name: str, data: bytes) -> Part:
    """What the manifest says of a part: rows, what was lost and why, and the BLAKE3 of its bytes."""
    metadata = pq.ParquetFile(io.BytesIO(data)).metadata
    lost = _footer(metadata).get("lost", {})
    return Part(name=name, rows=metadata.num_rows, lost=lost, blake3=blake3(data).hexdigest())


def table(data: bytes, columns: Sequence[str] | None = None, uri: str = "") -> pa.Table:
    """The rows of a part with these bytes, which were read at the URI. Raises NewerSchema."""
    check_own(io.BytesIO(data), uri or "a part")
    return _of_this_schema(pq.read_table(io.BytesIO(data), columns=columns), uri)


def read(
    stage_uri: str,
    name: str,
    columns: Sequence[str] | None = None,
    folder: str | None = None,
    made: Manifest | None = None,
) -> pa.Table:
    """The table of a part, from where the stage's manifest says, or the one that is given, unless a folder is given.

    Raises InputError when it is not the part that a complete stage's manifest names, RetryableError when the stage is
    not complete and the part is missing or not readable.
    """
    kept = (made or _standing(stage_uri)) if folder is None else None
    uri = uri_of_part(stage_uri, name, folder or folder_of(kept))
    try:
        data = objects.read(uri)
        _compare(stage_uri, name, kept, uri, blake3(data).hexdigest)
        return table(data, columns, uri)
    except FileNotFoundError:
        raise _missing(stage_uri, name, kept, uri) from None
    except pa.ArrowInvalid as error:
        raise RetryableError(
            f"{uri}: not readable as Parquet ({error}); delete it and its manifest, then rerun"
        ) from None


def columns(stage_uri: str, name: str, names: Sequence[str]) -> pa.Table:
    """These columns of a part; of a golden part no other byte, for those are its images. Raises what `read` does.

    In a directory the whole file is compared with the manifest all the same, once a process. A golden part on S3 is
    compared where its images are read.
    """
    kept = _standing(stage_uri)
    if kept and kept.stage != "golden":
        return read(stage_uri, name, names)
    uri = uri_of_part(stage_uri, name, folder_of(kept))
    try:
        if kept and not objects.is_s3(uri):
            _compare(stage_uri, name, kept, uri, lambda: _blake3_of(uri, *_state(uri)))
        with open_arrow(uri) as file:
            check_own(file, uri)
            return _of_this_schema(pq.read_table(file, columns=list(names)), uri)
    except FileNotFoundError:
        raise _missing(stage_uri, name, kept, uri) from None
    except (OSError, pa.ArrowException) as error:
        told = " ".join(str(error).split())
        raise RetryableError(
            f"{uri}: not readable as Parquet ({told}); delete it and its manifest, then rerun"
        ) from None


def folder_of(made: Manifest | None) -> str:
    """Where in its stage the parts of this manifest lie: a forced request writes beside those that were there."""
    return str(made.details.get("folder", "parts")) if made else "parts"


def place_of(made: Manifest) -> str:
    """The folder below its stage, "" for the stage itself, in which everything of this manifest is."""
    return folder_of(made).removesuffix("parts").rstrip("/")


def digest_parts(made: Manifest) -> str:
    """What tells these parts from those of another manifest with the same id."""
    return digest(*((part.name, part.blake3) for part in made.parts))


def _standing(stage_uri: str) -> Manifest | None:
    """The stage's manifest, read again only when it is another: parts are read by the thousand."""
    entry = objects.entry(f"{stage_uri}/manifest.json")
    return _manifest_at(stage_uri, entry.size, entry.version) if entry else None


@lru_cache(maxsize=32)
def _manifest_at(stage_uri: str, _size: int, _version: str) -> Manifest | None:
    return manifest(stage_uri)


def _compare(stage_uri: str, name: str, kept: Manifest | None, uri: str, computed: Callable[[], str]) -> None:
    """Raises InputError when a part is not the one that the manifest names."""
    stated = next((part.blake3 for part in kept.parts if part.name == name), None) if kept else None
    if stated and computed() != stated:
        _check_unchanged(stage_uri, kept)
        raise InputError(
            f"{uri}: not the part that its manifest names (another BLAKE3): replaced or cut short; restore it, or "
            f"delete it and {stage_uri}/manifest.json, then rerun the stage"
        )


def require_here(folder: str) -> None:
    """Raises InputError, naming this node, where a folder of the root that the driver has written to is not there."""
    if not objects.is_s3(folder) and not objects.exists(folder):
        raise InputError(f"{show_uri(folder)}: no such directory on node {socket.gethostname()}; {SHARE}")


def _missing(stage_uri: str, name: str, kept: Manifest | None, uri: str) -> Exception:
    if local := objects.local_path(stage_uri):
        require_here(str(local.parent))
    if kept is None or name not in {part.name for part in kept.parts}:
        return RetryableError(f"{uri}: the part is missing, and no manifest names it; rerun the stage")
    _check_unchanged(stage_uri, kept)
    return InputError(
        f"{uri}: the part is missing though its manifest names it; restore it (a root that is a directory must be one "
        f"that all nodes share), or delete {stage_uri}/manifest.json and rerun the stage"
    )


def _check_unchanged(stage_uri: str, kept: Manifest | None) -> None:
    """Raises RetryableError when the stage has another manifest by now, for then the parts may be another's too."""
    if manifest(stage_uri) != kept:
        raise RetryableError(f"{stage_uri}: made anew while it was read; try again")


def _state(uri: str) -> tuple[int, ...]:
    status = os.stat(str(objects.local_path(uri)))
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@lru_cache(maxsize=65536)  # the parts of some golden sets of millions of images
def _blake3_of(uri: str, *_state: int) -> str:
    objects.require_regular(uri)
    return blake3().update_mmap(str(objects.local_path(uri))).hexdigest()


def footer(data: bytes) -> dict[str, Any]:
    """What `write` was given as the footer of the part with these bytes."""
    return _footer(pq.ParquetFile(io.BytesIO(data)).metadata)


def footer_at(uri: str) -> dict[str, Any]:
    """The footer of the part at a URI, without reading its rows."""
    with open_arrow(uri) as file:
        return _footer(pq.read_metadata(file))


def manifest(stage_uri: str) -> Manifest | None:
    """The stage's manifest, None while it is not complete."""
    try:
        return json_files.load(Manifest, f"{stage_uri}/manifest.json")
    except FileNotFoundError:
        return None
    except ValueError as error:
        why = error.__class__.__name__  # its text has many lines, and the remedy is at the end of ours
        raise InputError(f"{stage_uri}/manifest.json: not a manifest ({why}); delete it and rerun") from None


def require(stage_uri: str, stage: str) -> Manifest:
    """The manifest of a stage that must be complete.

    Raises InputError where the stage was not begun, RetryableError where it was: another job may be at work.
    """
    found = manifest(stage_uri)
    if found is None and next(iter(objects.entries(stage_uri)), None):
        raise RetryableError(
            f"{stage_uri}: the {stage} stage is not complete yet; wait for the job that makes it, or rerun it"
        )
    if found is None:
        raise InputError(f"{stage_uri}: the {stage} stage is not complete; run it first")
    return found


def lost_of(listed: Iterable[Part]) -> dict[str, int]:
    """How many rows the parts lost, by reason."""
    return dict(sorted(sum((Counter(part.lost) for part in listed), Counter[str]()).items()))


def summed(
    stage: Literal["golden", "captions", "scores", "preference"],
    content_id: str,
    listed: Iterable[Part],
    rows_in: int,
    seconds: dict[str, float],
    versions: dict[str, str],
    details: dict[str, Any] | None = None,
) -> Manifest:
    """The manifest over a stage's parts. Raises RetryableError when the sums do not hold.

    Rows in must equal rows out and rows lost. A rejected image has no row in its part; a failed caption or score has.
    """
    listed = sorted(listed, key=lambda part: part.name)
    lost = lost_of(listed)
    rows_out = rows_in - sum(lost.values())
    expected = rows_out if stage == "golden" else rows_in
    held = sum(part.rows for part in listed)
    if held != expected:
        raise RetryableError(
            f"{stage} {content_id}: {expected} rows expected in its parts, {held} found; validate with force"
        )
    return Manifest(
        stage=stage,
        id=content_id,
        rows_in=rows_in,
        rows_out=rows_out,
        lost=lost,
        parts=tuple(listed),
        seconds=seconds,
        versions=versions,
        details=details or {},
        created_at=datetime.now(UTC),
    )


def commit(stage_uri: str, made: Manifest) -> Manifest:
    """Write the manifest if there is none: the one that stands, which completes the stage."""
    if objects.create(f"{stage_uri}/manifest.json", made.model_dump_json(indent=1).encode()):
        return made
    return require(stage_uri, made.stage)


def commit_forced(
    stage_uri: str, made: Manifest, folder: str, before_swap: Callable[[], None] = lambda: None
) -> Manifest:
    """Put a forced request's manifest in the place of the stage's: the one that stands then.

    The request keeps its own beside its parts, so that a retry finds it complete. `before_swap` is called before the
    stage's manifest is replaced, and not where another request's stands.
    """
    own = commit(f"{stage_uri}/{folder}", point_at(made, folder))
    return let_stand(stage_uri, own, before_swap=before_swap)


def point_at(made: Manifest, folder: str) -> Manifest:
    """The manifest as it stands for its stage, with its parts in a folder below the stage."""
    return made.model_copy(update={"details": made.details | {"folder": f"{folder}/parts" if folder else "parts"}})


def let_stand(
    stage_uri: str,
    own: Manifest,
    is_alike: Callable[[Manifest], bool] = lambda _: True,
    before_swap: Callable[[], None] = lambda: None,
) -> Manifest:
    """Put the manifest, or a later one of another forced request, in the place of the stage's: the one that stands.

    Of the requests that are alike the one that was complete later stands, and none takes anything away from another or
    from a reader. Each request looks again after it has written, so two that swap at once leave the later one.
    """
    while True:
        standing, latest = manifest(stage_uri), own
        for other in _forced_manifests(stage_uri):
            if is_alike(other) and other.created_at > latest.created_at:
                latest = other
        if standing and is_alike(standing) and standing.created_at >= latest.created_at:
            return standing
        before_swap()
        json_files.replace(f"{stage_uri}/manifest.json", latest)


def _forced_manifests(stage_uri: str) -> Iterator[Manifest]:
    """The manifests of complete forced requests, as they would stand for the stage."""
    for entry in list(objects.entries(f"{stage_uri}/forced")):
        folder, _, name = entry.key.rpartition("/")
        if name == "manifest.json":
            with suppress(InputError):  # not readable: then it cannot stand
                if made := manifest(f"{stage_uri}/forced/{folder}"):
                    yield point_at(made, f"forced/{folder}")


def _footer(metadata: pq.FileMetaData) -> dict[str, Any]:
    return read_footer(metadata.metadata)


def read_footer(metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    """What the metadata of a Parquet file hold of ours. Raises NewerSchema for a file of a newer Assay."""
    found: dict[str, Any] = json.loads((metadata or {}).get(FOOTER, b"{}"))
    check_schema(found.pop("schema", SCHEMA))
    return found


def _of_this_schema(table: pa.Table, uri: str) -> pa.Table:
    try:
        read_footer(table.schema.metadata)
    except NewerSchema as newer:
        raise NewerSchema(f"{uri}: {newer}") from None
    return table


def forget(stage_uri: str, token: str, keep: Sequence[str] = ()) -> None:
    """Remove what a stage holds, once for this token: a retry of the same forced run goes on where it was.

    What begins with one of `keep` stays.

    What completes the stage goes first and the marker is written last, so a kill in between leaves a stage that is
    incomplete, and the next try removes the rest of what was there. Raises NewerSchema where a newer Assay made it,
    before anything is removed.
    """
    marker = f"forced-{slug(token)}"
    if objects.exists(f"{stage_uri}/{marker}"):
        return
    held = [entry.key for entry in objects.entries(stage_uri) if not entry.key.startswith(tuple(keep))]
    for key in held:
        if key.endswith(".json"):
            json_files.check_replaceable(f"{stage_uri}/{key}")
    for key in sorted(held, key=lambda key: not key.endswith(".json")):
        objects.delete(f"{stage_uri}/{key}")
    objects.write(f"{stage_uri}/{marker}", b"")


def _parquet(table: pa.Table) -> bytes:
    """Text columns compressed; binary ones as they are, for images are compressed and no two are the same."""
    leaves = dict(leaf for field in table.schema for leaf in _leaves(field.name, field.type))
    texts = [leaf for leaf, kind in leaves.items() if not pa.types.is_binary(kind)]
    codecs = {leaf: "ZSTD" if leaf in texts else "NONE" for leaf in leaves}
    sink = pa.BufferOutputStream()  # an io.BytesIO takes six times as long
    pq.write_table(table, sink, compression=codecs, use_dictionary=texts, write_statistics=texts)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _leaves(name: str, kind: pa.DataType) -> Iterator[tuple[str, pa.DataType]]:
    """The columns of a Parquet file that a column of this type is written as, by their names there."""
    if pa.types.is_list(kind):
        yield from _leaves(f"{name}.list.element", kind.value_type)
    elif pa.types.is_struct(kind):
        for field in kind:
            yield from _leaves(f"{name}.{field.name}", field.type)
    else:
        yield name, kind
