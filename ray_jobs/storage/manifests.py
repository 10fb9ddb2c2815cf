"""Reads and writes the manifests of stages, and knows where the parts of a stage are.

The control plane and the jobs call it, so it opens no Parquet file; `parts` does. A manifest lists the parts of a
complete stage. A stage writes its manifest last, and only where there is none, so its existence means that the stage is
complete. A forced request writes its parts and its manifest to a folder below the stage, and then replaces the
manifest.
"""

import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal

from ray_jobs.contract.artifacts import Manifest, Part
from ray_jobs.contract.ids import digest, slug
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.storage import json_files, object_listing, objects, uris
from ray_jobs.storage.error_lines import show_uri

SHARE_REMEDY = "use s3://, or mount one file system there on every node"


def uri_of_manifest(stage_uri: str) -> str:
    return f"{stage_uri}/manifest.json"


def name_of_part(index: int) -> str:
    return f"part-{index:05d}"


def uri_of_part(stage_uri: str, name: str, folder: str = "parts") -> str:
    return f"{stage_uri}/{folder}/{name}.parquet"


def list_part_names(stage_uri: str, folder: str = "parts") -> set[str]:
    """Returns the names of the parts that are in the folder."""
    return {
        entry.key.removesuffix(".parquet")
        for entry in object_listing.iterate_entries(f"{stage_uri}/{folder}")
        if entry.key.endswith(".parquet")
    }


def parts_folder_of(manifest: Manifest | None) -> str:
    """Returns the folder of the manifest's parts, below the stage. A forced request has a folder of its own."""
    return str(manifest.details.get("folder", "parts")) if manifest else "parts"


def stage_folder_of(manifest: Manifest) -> str:
    """Returns the folder below the stage that holds everything of this manifest, "" for the stage itself."""
    return parts_folder_of(manifest).removesuffix("parts").rstrip("/")


def digest_parts(manifest: Manifest) -> str:
    """Returns a hash that differs between two manifests of one id when their parts differ."""
    return digest(*((part.name, part.blake3) for part in manifest.parts))


def require_on_node(folder: str) -> None:
    """Raises InputError, naming this node, when a folder that the driver has written to is missing here."""
    if not uris.is_s3(folder) and not objects.exists(folder):
        raise InputError(f"{show_uri(folder)}: no such directory on node {socket.gethostname()}; {SHARE_REMEDY}")


def load_manifest(stage_uri: str, at_most: int = json_files.LARGEST) -> Manifest | None:
    """Returns the stage's manifest, None while the stage is not complete.

    Raises InputError for a file that is no manifest, or has more than `at_most` bytes, and NewerSchema.
    """
    uri = uri_of_manifest(stage_uri)
    try:
        return json_files.load(Manifest, uri, at_most)
    except FileNotFoundError:
        return None
    except ValueError as error:
        why = error.__class__.__name__  # the error's own text has many lines
        raise InputError(f"{uri}: not a manifest ({why}); delete it and rerun") from None


def require_manifest(stage_uri: str, stage: str, at_most: int = json_files.LARGEST) -> Manifest:
    """Returns the manifest, of at most `at_most` bytes, of a stage that must be complete.

    Raises InputError when the stage has not begun, RetryableError when it has: another job may be at work.
    """
    manifest = load_manifest(stage_uri, at_most)
    if manifest is None and next(iter(object_listing.iterate_entries(stage_uri)), None):
        raise RetryableError(
            f"{stage_uri}: the {stage} stage is not complete yet; wait for the job that makes it, or rerun it"
        )
    if manifest is None:
        raise InputError(f"{stage_uri}: the {stage} stage is not complete; run it first")
    return manifest


def count_lost(parts: Iterable[Part]) -> dict[str, int]:
    """Returns how many rows the parts lost, by reason."""
    return dict(sorted(sum((Counter(part.lost) for part in parts), Counter[str]()).items()))


def build_manifest(
    stage: Literal["golden", "captions", "scores", "preference"],
    content_id: str,
    parts: Iterable[Part],
    rows_in: int,
    seconds: dict[str, float],
    versions: dict[str, str],
    details: dict[str, Any] | None = None,
) -> Manifest:
    """Returns the manifest over a stage's parts, without writing it. Raises RetryableError when the sums do not hold.

    The rows in equal the rows out plus the lost rows. A golden part has no row for a rejected image; a part of another
    stage keeps the row of a caption or score that failed.
    """
    parts = sorted(parts, key=lambda part: part.name)
    lost = count_lost(parts)
    rows_out = rows_in - sum(lost.values())
    expected = rows_out if stage == "golden" else rows_in
    rows = sum(part.rows for part in parts)
    if rows != expected:
        raise RetryableError(
            f"{stage} {content_id}: {expected} rows expected in its parts, {rows} found; validate with force"
        )
    return Manifest(
        stage=stage,
        id=content_id,
        rows_in=rows_in,
        rows_out=rows_out,
        lost=lost,
        parts=tuple(parts),
        seconds=seconds,
        versions=versions,
        details=details or {},
        created_at=datetime.now(UTC),
    )


def commit(stage_uri: str, manifest: Manifest) -> Manifest:
    """Complete the stage: write the manifest if there is none. Returns the stage's manifest, which may be another's."""
    if objects.create(uri_of_manifest(stage_uri), manifest.model_dump_json(indent=1).encode()):
        return manifest
    return require_manifest(stage_uri, manifest.stage)


def commit_forced(
    stage_uri: str, manifest: Manifest, folder: str, before_swap: Callable[[], None] = lambda: None
) -> Manifest:
    """Replace the stage's manifest by that of a forced request. Returns the stage's manifest afterwards.

    A copy stays beside the parts of the request, so that a retry finds it complete. `before_swap` is called before the
    stage's manifest is replaced; it is not called when a later request's manifest stays.
    """
    committed = commit(f"{stage_uri}/{folder}", with_parts_folder(manifest, folder))
    return install_latest(stage_uri, committed, before_swap=before_swap)


def with_parts_folder(manifest: Manifest, folder: str) -> Manifest:
    """Returns the manifest as the stage's own, with its parts in a folder below the stage."""
    return manifest.model_copy(
        update={"details": manifest.details | {"folder": f"{folder}/parts" if folder else "parts"}}
    )


def install_latest(
    stage_uri: str,
    manifest: Manifest,
    is_alike: Callable[[Manifest], bool] = lambda _: True,
    before_swap: Callable[[], None] = lambda: None,
) -> Manifest:
    """Make this manifest, or that of a later forced request, the stage's. Returns the stage's manifest afterwards.

    Among the requests that are alike, the last to be complete wins. No request removes the files of another.
    Each request looks again after it has written, so two concurrent requests leave the later one.
    """
    while True:
        current, latest = load_manifest(stage_uri), manifest
        for other in _list_forced_manifests(stage_uri):
            if is_alike(other) and other.created_at > latest.created_at:
                latest = other
        if current and is_alike(current) and current.created_at >= latest.created_at:
            return current
        before_swap()
        json_files.replace(uri_of_manifest(stage_uri), latest)


def _list_forced_manifests(stage_uri: str) -> Iterator[Manifest]:
    """Yields the manifests of complete forced requests, each as the stage's own."""
    for entry in list(object_listing.iterate_entries(f"{stage_uri}/forced")):
        folder, _, name = entry.key.rpartition("/")
        if name == "manifest.json":
            with suppress(InputError):  # an unreadable manifest cannot become the stage's
                if manifest := load_manifest(f"{stage_uri}/forced/{folder}"):
                    yield with_parts_folder(manifest, f"forced/{folder}")


def clear_stage(stage_uri: str, token: str, keep: Sequence[str] = ()) -> None:
    """Delete the files of a stage once per token, so a retry of the same forced run continues where it was.

    Files whose names begin with one of `keep` stay. The JSON files go first and the marker is written last: a kill in
    between leaves an incomplete stage, and the next try deletes the rest. Raises NewerSchema, before anything is
    deleted, when a newer Assay made the stage.
    """
    marker = f"forced-{slug(token)}"
    if objects.exists(f"{stage_uri}/{marker}"):
        return
    keys = [entry.key for entry in object_listing.iterate_entries(stage_uri) if not entry.key.startswith(tuple(keep))]
    for key in keys:
        if key.endswith(".json"):
            json_files.check_replaceable(f"{stage_uri}/{key}")
    for key in sorted(keys, key=lambda key: not key.endswith(".json")):
        objects.delete(f"{stage_uri}/{key}")
    objects.write(f"{stage_uri}/{marker}", b"")
