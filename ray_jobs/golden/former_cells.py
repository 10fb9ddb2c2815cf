"""Golden sets of releases that wrote what is no text out as Python: `{'id': 0, ...}`, `b'...'`, `nan`.

`preprocess` asks for a complete set whether it is one, because the same source read today has other references. The
ids of all other sets stay: what a set was read with is no part of its id, and only what it holds tells.
"""

from collections.abc import Callable, Iterable, Iterator

from ray_jobs.contract.artifacts import Manifest
from ray_jobs.contract.suite import Dataset
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable
from ray_jobs.runtime.prefetch import prefetch
from ray_jobs.sources.cells.images import PYTHON_BYTES
from ray_jobs.sources.cells.texts import CellFault
from ray_jobs.sources.cells.values import WHOLE, read_label, read_references
from ray_jobs.storage import manifests, objects
from ray_jobs.storage.arrow_files import open_parquet

CELLS = 2  # how cells are read; a set without it in its details was read before they had types
COLUMNS = ["image_id", "label", "references"]
READS = 16
CHECKED = "cells.json"  # beside the manifest of such a set that was found to be right


def check_texts_as_read_now(golden_uri: str, manifest: Manifest, dataset: Dataset) -> None:
    """Raises InputError for a complete set whose labels or references are Python objects written out.

    Numbers that were references cannot be told from texts, and stay.
    """
    if manifest.details.get("cells") or not (dataset.label or dataset.references):
        return
    if objects.exists(f"{golden_uri}/{CHECKED}"):
        return
    for image_id, text in find_misread(_read(golden_uri, (part.name for part in manifest.parts))):
        raise InputError(
            f"golden set {golden_uri}: an earlier version wrote what is no text out as Python, as for "
            f"{printable(image_id, 60)}: {printable(text, 60)}; change `dataset.seed`, which makes another set"
        )
    objects.create(f"{golden_uri}/{CHECKED}", b"{}")


def find_misread(rows: Iterable[tuple[str, str | None, list[str]]]) -> Iterator[tuple[str, str]]:
    """Image id and text of those labels and references that are read otherwise now."""
    for image_id, label, references in rows:
        for reference in references:
            if reference.strip() and _is_other(reference, [reference], read_references):
                yield image_id, reference
        if label and not WHOLE.match(label) and _is_other(label, label, read_label):
            yield image_id, label


def _is_other(text: str, same: object, read: Callable[[str], object]) -> bool:
    if PYTHON_BYTES.fullmatch(text):
        return True
    try:
        return read(text) != same
    except CellFault:
        return True


def _read(golden_uri: str, names: Iterable[str]) -> Iterator[tuple[str, str | None, list[str]]]:
    """The texts of the parts, several of which are read at a time: most of it is waiting for storage."""
    for rows in prefetch(lambda name: _read_part(manifests.uri_of_part(golden_uri, name)), names, READS):
        yield from rows


def _read_part(uri: str) -> list[tuple[str, str | None, list[str]]]:
    with open_parquet(uri) as file:
        table = file.read(columns=COLUMNS)
        return list(zip(*(table[column].to_pylist() for column in COLUMNS), strict=True))
