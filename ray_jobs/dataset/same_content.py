"""Find the golden set that was made from the same files at another place: a moved clone, or a copied folder.

The id of a golden set depends on the place of its files and on their modification times. A copy therefore has another
id, and all its images would be prepared and captioned again. So `plan` also hashes the content of a local source. Once
`preprocess` has a complete set, the job stores its id under that hash (`same_content/` in the root). A later plan of
the same content uses that set. The ids of earlier runs do not change.

This works only for a source whose folder holds all that the source reads: images in a folder, and WebDataset. A
manifest or a table may name images elsewhere, and the hash does not cover their content.
"""

import math
import os
from collections.abc import Callable
from pathlib import Path

from pydantic import Field, ValidationError

from ray_jobs.contract.ids import digest
from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.contract.spec import PREPROCESS_VERSION, Spec
from ray_jobs.contract.stored_model import StoredModel
from ray_jobs.dataset.source_files import METADATA
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable
from ray_jobs.inputs.regular_files import NotRegularError, open_regular
from ray_jobs.storage import json_files, object_listing, objects, uris
from ray_jobs.storage.content_hashes import content_hashes
from ray_jobs.storage.manifests import uri_of_manifest

MEGABYTES = 4096  # bound on the files to hash, which takes seconds from a local disk
MOST_FILES = 200_000
LEADS_OUT = (b"../", b"..\\")
PIECE = 2**20  # bytes
Revise = Callable[[Dataset, Callable[[object_listing.Entry], str]], str]


class SameContent(StoredModel):
    """The golden set that was made from a content."""

    golden_id: str = Field(pattern="^[0-9a-f]{16}$")
    """The id of the golden set."""


class _NotHashed(Exception):
    """The content is too large to hash, or not all of it lies in the source's folder."""


def find_same_content(spec: Spec, revise: Revise) -> dict[str, str]:
    """Return the fields of the spec that name its content: `content_id`, and `same_golden`, each only if there is one.

    `content_id` is the hash of the content. `revise` computes the revision of a data set from a function that returns
    each file's version. `same_golden` is another golden set of the same images that is complete, while the spec's own
    set is not: the set of this content, or else the set of an earlier release.
    """
    content_id = _content_id(spec, revise)
    fields = {"content_id": content_id} if content_id else {}
    if _is_complete(spec.root, spec.golden_id):
        return fields
    for golden_id in (_load_noted_id(spec.root, content_id), _golden_id_with_links_followed(spec)):
        if golden_id and _is_complete(spec.root, golden_id):
            return fields | {"same_golden": golden_id}
    return fields


def _golden_id_with_links_followed(spec: Spec) -> str | None:
    """Return the id that an earlier release gave the golden set, or None if it is the same.

    Earlier releases followed the links of a suite's folder when they wrote its relative paths. The paths are part of
    the id of a golden set, so the same files had another id.
    """
    dataset = spec.suite.dataset
    paths = {name: value for name in ("source", "label_names") if (value := getattr(dataset, name))}
    followed = {name: os.path.realpath(path) for name, path in paths.items() if path.startswith("/")}
    if all(paths[name] == path for name, path in followed.items()):
        return None
    settings = dataset.model_copy(update=followed).identity(), spec.suite.preprocess.identity()
    return digest(PREPROCESS_VERSION, spec.source_revision, *settings)


def note_golden(spec: Spec) -> None:
    """Store the id of the spec's golden set under its content, unless a complete set is stored there already."""
    if not spec.content_id:
        return
    noted_id = _load_noted_id(spec.root, spec.content_id)
    if noted_id is None or not _is_complete(spec.root, noted_id):
        json_files.replace(_uri(spec.root, spec.content_id), SameContent(golden_id=spec.golden_id))


def _content_id(spec: Spec, revise: Revise) -> str | None:
    dataset = spec.suite.dataset
    folder = uris.local_path(dataset.source)
    if folder is None or dataset.revision or not folder.exists():
        return None
    named = os.environ.get("ASSAY_CONTENT_MB", "")
    if named and not named.replace(".", "", 1).isdecimal():
        raise InputError(
            f"ASSAY_CONTENT_MB is {printable(named, 60)!r}; set it to a number of megabytes, or not at all"
        )
    most, most_files = float(named or MEGABYTES) * 1_000_000, math.inf if named else MOST_FILES
    hashed = count = 0
    with content_hashes() as hashes:

        def content_of(entry: object_listing.Entry) -> str:
            nonlocal hashed, count
            hashed, count = hashed + entry.size, count + 1
            if hashed > most or count > most_files:
                raise _NotHashed
            path = folder / entry.key if folder.is_dir() else folder
            if entry.key.rpartition("/")[2] in METADATA and _leads_out(path):
                raise _NotHashed
            return hashes.of(path)

        try:
            names = _content_of_names(dataset, hashes.of)
            revision = revise(dataset.model_copy(update={"label_names": None}), content_of)
        except (_NotHashed, NotRegularError, OSError):
            return None
    settings = {name: value for name, value in dataset.identity().items() if name not in ("source", "label_names")}
    return digest(PREPROCESS_VERSION, revision, names, settings, spec.suite.preprocess.identity())


def _content_of_names(dataset: Dataset, hash_of: Callable[[Path], str]) -> str:
    if not dataset.label_names:
        return ""
    path = uris.local_path(dataset.label_names)
    if path is None:
        raise _NotHashed
    return hash_of(path)


def _leads_out(path: Path) -> bool:
    """True if the file may name a file above its folder. It is read in pieces, because it may have gigabytes."""
    end = b""
    with open_regular(path) as file:
        while piece := file.read(PIECE):
            if any(sign in end + piece for sign in LEADS_OUT):
                return True
            end = piece[-2:]
    return False


def _uri(root: str, content_id: str) -> str:
    return f"{root}/same_content/{content_id}.json"


def _load_noted_id(root: str, content_id: str | None) -> str | None:
    if content_id is None:
        return None
    try:
        return json_files.load(SameContent, _uri(root, content_id)).golden_id
    except (FileNotFoundError, ValidationError, ValueError):
        return None


def _is_complete(root: str, golden_id: str) -> bool:
    return objects.exists(uri_of_manifest(f"{root}/golden/{golden_id}"))
