"""Find golden sets of earlier releases, which wrote values other than texts in Python form: `{'id': 0, ...}`, `nan`.

The driver of `preprocess` checks every complete set, because today the same source gives other references. The release
is not part of a set's id, so only the contents of the set tell. The ids of all other sets stay.
"""

from collections.abc import Callable, Iterable, Iterator

from ray_jobs.contract.artifacts import Manifest
from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable
from ray_jobs.runtime.prefetch import prefetch
from ray_jobs.sources.cells.images import PYTHON_BYTES
from ray_jobs.sources.cells.texts import CellFault
from ray_jobs.sources.cells.values import WHOLE, read_label, read_references
from ray_jobs.storage import manifests, objects
from ray_jobs.storage.arrow_files import open_parquet

CELLS = 2  # the way cells are read; a set without this in its details is from a release before cells had types
COLUMNS = ["image_id", "label", "references"]
READS = 16
CHECKED = "cells.json"  # a file beside the manifest, which says that the check of this set passed


def check_texts_as_read_now(golden_uri: str, manifest: Manifest, dataset: Dataset) -> None:
    """Raise InputError for a complete set whose labels or references are Python objects in text form.

    References that were numbers look like texts, so the check accepts them.
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
    """(image id, text) of each label and reference that Assay would read differently today."""
    for image_id, label, references in rows:
        for reference in references:
            if reference.strip() and _reads_differently(reference, [reference], read_references):
                yield image_id, reference
        if label and not WHOLE.match(label) and _reads_differently(label, label, read_label):
            yield image_id, label


def _reads_differently(text: str, same: object, read: Callable[[str], object]) -> bool:
    if PYTHON_BYTES.fullmatch(text):
        return True
    try:
        return read(text) != same
    except CellFault:
        return True


def _read(golden_uri: str, names: Iterable[str]) -> Iterator[tuple[str, str | None, list[str]]]:
    """The texts of the parts. Reads several parts at once, because most of the time is waiting for storage."""
    for rows in prefetch(lambda name: _read_part(manifests.uri_of_part(golden_uri, name)), names, READS):
        yield from rows


def _read_part(uri: str) -> list[tuple[str, str | None, list[str]]]:
    with open_parquet(uri) as file:
        table = file.read(columns=COLUMNS)
        return list(zip(*(table[column].to_pylist() for column in COLUMNS), strict=True))
