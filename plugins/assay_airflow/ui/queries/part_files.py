"""Finds the Parquet files of a stage on this machine: in place below a local root, else as copies in the pages' cache.

Only parts that a manifest names are read. A part never changes, so a copy is made once, through the project's own
client of S3, which checks the bytes against the object's ETag.
"""

import os
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from assay_airflow.ui.queries.cache_folder import find_pages_cache, mark_used, read_limit, trim
from ray_jobs.contract.ids import digest
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.storage import manifests, object_listing, objects, uris

LARGEST, LARGEST_OF_TEXTS = 2**30, 2**26  # bytes of a part; one of a golden set has some 128 MB
DOWNLOADS = 8


class PartFile(NamedTuple):
    """A part of a stage: its name, its rows by the manifest, and its URI."""

    name: str
    rows: int
    uri: str
    blake3: str


def locate_parts(parts: Iterable[PartFile]) -> tuple[dict[str, str], list[str]]:
    """Returns the local path of each part by its name, and one line for each part that cannot be had."""
    paths: dict[str, str] = {}
    problems: list[str] = []
    wanted = list(parts)

    def locate(part: PartFile) -> str:
        try:
            return _locate_part(part)
        except (InputError, RetryableError, OSError) as error:
            return f"!{part.name}: {error}"

    with ThreadPoolExecutor(DOWNLOADS) as pool:
        for part, result in zip(wanted, pool.map(locate, wanted), strict=True):
            if result.startswith("!"):
                problems.append(result[1:])
            else:
                paths[part.name] = result
    if wanted and uris.is_s3(wanted[0].uri):
        trim(find_pages_cache() / "parts", read_limit(), keep={Path(path) for path in paths.values()})
    return paths, problems


def list_parts(stage_uri: str, folder: str, names: Iterable[tuple[str, int, str]]) -> list[PartFile]:
    """Returns the parts with these names, rows and BLAKE3 sums."""
    return [
        PartFile(name, rows, manifests.uri_of_part(stage_uri, name, folder), blake3) for name, rows, blake3 in names
    ]


def _locate_part(part: PartFile) -> str:
    path = uris.local_path(part.uri)
    if path:
        real = os.path.realpath(path)
        if not os.path.isfile(real):
            raise InputError("the file is missing though a manifest names it; restore it")
        return real
    copy = find_pages_cache() / "parts" / f"{digest(part.uri, part.blake3)}.parquet"
    if copy.exists():
        mark_used(copy)
    else:
        _download(part.uri, copy)
    return str(copy)


def _download(uri: str, copy: Path) -> None:
    """Copy an object. A part of texts is one request; a part of images is read by ranges, into no memory."""
    handle, name = tempfile.mkstemp(dir=copy.parent, prefix=".part-")
    try:
        with os.fdopen(handle, "wb") as file:
            if "/golden/" not in uri:
                file.write(objects.read(uri, LARGEST_OF_TEXTS))
        if "/golden/" in uri:
            _check_size(uri)
            objects.download(uri, Path(name))
        os.replace(name, copy)
    except FileNotFoundError:
        raise InputError("the object is missing though a manifest names it; restore it") from None
    finally:
        Path(name).unlink(missing_ok=True)


def _check_size(uri: str) -> None:
    entry = object_listing.find_entry(uri)
    if entry is None:
        raise InputError("the object is missing though a manifest names it; restore it")
    if entry.size > LARGEST:
        raise InputError(f"the object has {entry.size} bytes, more than a part has")
