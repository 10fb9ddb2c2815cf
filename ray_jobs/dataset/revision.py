"""Compute the revision of a data set: a hash over the names, sizes and versions of the files at its source.

`plan` calls this module in the control plane. The job `preprocess` calls it again before it lists the images. No image
is opened.
"""

import hashlib
import json
import posixpath
import re
from collections.abc import Callable, Iterator
from operator import attrgetter

from ray_jobs.contract.ids import digest
from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.dataset import image_formats
from ray_jobs.dataset.allowed_folders import refuse_system_path
from ray_jobs.dataset.brace_patterns import expand_pattern
from ray_jobs.dataset.label_tables import TABLE_BYTES, parse_label_table
from ray_jobs.dataset.source_files import (
    FIRST_MANIFESTS,
    MANIFESTS,
    OF_FORMAT,
    TABLES,
    Selection,
    candidate_image_folders,
    is_hashed,
)
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import object_listing, objects, uris

PREVIEW = re.compile(r"(^|/)golden/[0-9a-f]{16}/preview\.png$")  # if the root lies beside the manifest
SAVED = ("dataset_dict.json", "dataset_info.json")  # files in a folder that `datasets` saved
FILES = (*MANIFESTS, ".tar", ".tar.gz", ".tgz", ".parquet", ".arrow", ".feather", ".zip")


def source_revision(dataset: Dataset, version_of: Callable[[object_listing.Entry], str] = attrgetter("version")) -> str:
    """Return the suite's own `revision`, or a hash over the names, sizes and versions of the source's files.

    The version of a file is its ETag on S3, and its modification time in a directory, unless `version_of` returns
    another. The file of `label_names` is hashed too. Raises InputError if nothing is at the source, if a data set on
    the hub is not pinned, or if the files belong to several splits and the suite names none.
    """
    names = object_listing.find_entry(dataset.label_names) if dataset.label_names else None
    extras: list[object] = ["label_names", names.size, names.version] if names else []
    if dataset.label_names and names and _is_new_label_table(dataset.label_names):
        extras.append("with ids")  # earlier versions numbered the lines, so their golden sets have other labels
    if dataset.split and not is_hub_name(dataset) and not _is_saved(dataset):
        extras += ["split"]  # earlier versions read all splits here, so their golden sets have another content
    if dataset.source.startswith(("~", "$")):
        raise InputError(f"dataset {dataset.source}: ~ and $ are not replaced in a suite; write the whole path")
    if is_hub_name(dataset) and not re.fullmatch("[0-9a-f]{40}", dataset.revision or ""):
        raise InputError(
            f"dataset {dataset.source}: no such directory; if it is a dataset on the Hugging Face hub, pin its "
            "`revision` (a commit hash), or the golden set could change unnoticed"
        )
    if dataset.revision:
        return digest(dataset.revision, extras) if extras else dataset.revision
    has_files, revision = False, hashlib.sha256()
    for entry in _list_files(dataset):
        has_files = True
        revision.update(f"{json.dumps([entry.key, entry.size, version_of(entry)])}\n".encode())
    if not has_files:
        remedy = "patterns with * are not read, name the folder" if "*" in dataset.source else "check the URI"
        raise InputError(f"dataset {dataset.source}: nothing is there; {remedy}")
    if extras:
        revision.update(json.dumps(extras).encode())
    return revision.hexdigest()[:16]


def is_hub_name(dataset: Dataset) -> bool:
    """True if the source is the name of a data set on the Hugging Face hub, not a place in storage."""
    local = uris.local_path(dataset.source)
    if local is None or dataset.format not in ("auto", "huggingface") or local.is_absolute() or local.exists():
        return False
    names_files = "{" in dataset.source or dataset.source.lower().endswith(FILES)
    return dataset.format == "huggingface" or not names_files


def _list_files(dataset: Dataset) -> Iterator[object_listing.Entry]:
    """Yield the files of a source: all files below a folder, a single file, or the files that a pattern names.

    Raises InputError if the files belong to several splits and the suite names none.
    """
    pattern = expand_pattern(dataset.source)
    if pattern != [dataset.source]:
        for uri in pattern:
            if not (entry := object_listing.find_entry(uri)):
                raise InputError(f"dataset {dataset.source}: {uri} is not there; correct the pattern or add the file")
            yield object_listing.Entry(uri, entry.size, entry.version)
        return
    suffixes = OF_FORMAT.get(dataset.format, (*image_formats.SUFFIXES, *TABLES))
    selection, is_empty, is_saved = Selection(dataset.source, dataset.split, suffixes), True, _is_saved(dataset)
    for entry in object_listing.iterate_entries(dataset.source):
        is_empty = False
        selection.takes(entry.key)
        if is_hashed(entry.key):
            yield entry
    if not is_saved:
        selection.check()
    if is_empty and (single := object_listing.find_entry(dataset.source)):
        yield single
        yield from _list_described_images(dataset)


def find_image_folder(dataset: Dataset) -> str:
    """Return the folder that the names in a manifest are relative to: the suite's `images`, or the usual place."""
    if dataset.images is None:
        if dataset.source.lower().endswith(FIRST_MANIFESTS):
            return dataset.source.rpartition("/")[0] or "."
        places = candidate_image_folders(dataset.source)
        return next((place for place in places[:-1] if next(object_listing.iterate_entries(place), None)), places[-1])
    folder = dataset.images.rstrip("/") or "/"
    if "://" not in folder and not folder.startswith("/"):
        scheme, sign, path = (dataset.source.rpartition("/")[0] or ".").rpartition("://")
        folder = scheme + sign + posixpath.normpath(f"{path}/{folder}")
    refuse_system_path(folder, "images")
    return folder


def _list_described_images(dataset: Dataset) -> Iterator[object_listing.Entry]:
    """Yield the images in the folder of a manifest, because they decide the content as much as the manifest does.

    For the kinds of manifest in the first release only the file counts, so that no id changes, unless the suite sets
    `images`.
    """
    name = dataset.source.lower()
    if not name.endswith(MANIFESTS) or (dataset.images is None and name.endswith(FIRST_MANIFESTS)):
        return
    for entry in object_listing.iterate_entries(find_image_folder(dataset)):
        if entry.key.lower().endswith(image_formats.SUFFIXES) and not PREVIEW.search(entry.key):
            yield entry


def _is_new_label_table(uri: str) -> bool:
    refuse_system_path(uri, "label_names")
    try:
        text = objects.read(uri, at_most=TABLE_BYTES).decode("utf-8-sig")
    except (FileNotFoundError, UnicodeDecodeError):
        return False  # the reader of the labels reports this fault
    return parse_label_table(uri, text).is_new_form


def _is_saved(dataset: Dataset) -> bool:
    """True if `datasets` saved the source to disk. The files of such a folder name its splits."""
    if dataset.format not in ("auto", "huggingface"):
        return False
    return dataset.format == "huggingface" or any(objects.exists(f"{dataset.source}/{name}") for name in SAVED)
