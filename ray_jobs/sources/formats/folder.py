"""Read a folder of images, on disk or S3.

References and labels come from the folder's metadata: one file, or one file per split. Without metadata, references
come from side files with the images' names, and labels from the names of subfolders.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import PurePosixPath

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.dataset.source_files import ALL, METADATA, Selection, is_no_class, is_of_split
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.inputs.names import printable
from ray_jobs.runtime.prefetch import prefetch
from ray_jobs.sources.cells.labels import name_label, read_label_names
from ray_jobs.sources.cells.texts import escape_unencodable
from ray_jobs.sources.cells.values import RowTexts
from ray_jobs.sources.formats.metadata import Metadata, metadata_name, open_metadata
from ray_jobs.sources.formats.side_files import SideFiles, find_side_files
from ray_jobs.sources.listing.skipped_files import SkippedFiles, list_selected
from ray_jobs.sources.listing.unknown_files import archives_among, manifests_among, unknown_file
from ray_jobs.sources.reading.fetch import FetchedImage, distance_of, fetch_place, reads_at_once
from ray_jobs.sources.source import SUFFIXES, Distance, ImageRef, SourceImage
from ray_jobs.storage import object_listing


class FolderSource:
    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    @property
    def distance(self) -> Distance:
        return distance_of(self.dataset.source)

    def list_images(self) -> Iterator[ImageRef]:
        metadata_names = self._find_metadata()
        if self.dataset.truth and not metadata_names:
            fault = f"truth {', '.join(self.dataset.truth.values())!r} needs a {' or '.join(METADATA)}"
            raise InputError(f"dataset {self.dataset.source}: {fault}")
        sides = None
        if self.dataset.references and not metadata_names:
            sides = find_side_files(self.dataset)
        names = read_label_names(self.dataset)
        with open_metadata(self.dataset, metadata_names) if metadata_names else nullcontext() as joined:
            for ref in self._list_files(joined, sides):
                name_label(ref.label, names, self.dataset)  # report a label without a name before any image is read
                yield ref

    def read(self, located: Sequence[ImageRef]) -> Iterator[SourceImage]:
        names = read_label_names(self.dataset)

        def row(ref: ImageRef) -> SourceImage:
            where, sides = SideFiles.parse_place(ref.where)
            fetched = FetchedImage(detail=ref.fault) if ref.fault else self._fetch_image(ref, where)
            texts = RowTexts(ref.label, ref.references)
            if sides and not fetched.absent:
                texts = sides.read(f"{self.dataset.source}/{_as_key(where)}", self.dataset)
                if texts.fault:
                    fetched = FetchedImage(detail=texts.fault)
            label, label_id = name_label(texts.label, names, self.dataset)
            return SourceImage(
                ref.image_id, fetched.data, fetched.file, label, label_id, texts.references, fetched.detail, ref.truth
            )

        return prefetch(row, located, reads_at_once(self.dataset, self.distance))

    def _find_metadata(self) -> list[str]:
        """Return the metadata files to use: the folder's, else the subfolders' if references, truth or a split ask."""
        source, split = self.dataset.source, self.dataset.split
        if name := metadata_name(source):
            return [name]
        if not (split or self.dataset.references or self.dataset.truth):
            return []
        keys = [
            entry.key for entry in object_listing.iterate_entries(source) if entry.key.rpartition("/")[2] in METADATA
        ]
        selection = Selection(source, split, SUFFIXES["folder"])
        folders = dict.fromkeys(key.rpartition("/")[0] for key in keys if selection.takes(key))
        selection.check()
        return [name for folder in folders if (name := metadata_name(source, f"{folder}/"))]

    def _list_files(self, joined: Metadata | None, sides: SideFiles | None) -> Iterator[ImageRef]:
        """Yield the images by key, then the rows of the metadata whose file is missing."""
        images, labels, classes, skipped = 0, 0, 0, SkippedFiles(self.dataset.source, "like an image")
        split = None if joined and joined.has_splits else self.dataset.split
        wanted = self.dataset.split not in (None, ALL)
        selection = Selection(self.dataset.source, ALL if joined and joined.has_splits else split, SUFFIXES["folder"])
        for entry in list_selected(selection):
            description = joined.find(entry.key) if joined else None
            if description is None and PurePosixPath(entry.key).suffix.lower() not in SUFFIXES["folder"]:
                if entry.key.rpartition("/")[2] not in METADATA and not (sides and sides.owns(entry.key)):
                    skipped.add(escape_unencodable(entry.key))
                continue
            if wanted and joined and joined.has_splits and not (description and description.is_chosen):
                continue
            images += 1
            label = description.label if description else None
            if self.dataset.label and joined is None and not (sides and sides.label):
                label = self._folder_label(entry.key)
            labels += label is not None
            classes += label is not None and not (joined is None and is_no_class(label))
            where = _as_where(entry.key)
            if sides:
                where = sides.add_to_place(where)
            references, fault = (description.references, description.fault) if description else ([], "")
            truth = description.truth if description else "{}" if self.dataset.truth else None
            yield ImageRef(escape_unencodable(entry.key), where, entry.size, label, references, fault, truth)
        skipped.log()
        if not images:
            self._refuse_nothing(selection, skipped)
        if self.dataset.label and joined is None and not labels and not (sides and sides.label):
            raise InputError(
                f"dataset {self.dataset.source}: `label: {self.dataset.label}` has no effect: no image lies in a "
                "subfolder that names its class; take it out, or write the labels into a metadata.csv"
            )
        if labels and not classes:
            raise InputError(
                f"dataset {self.dataset.source}: `label: {self.dataset.label}`: no folder that directly holds images "
                f"is called by a class, but like {printable(str(label), 40)!r}; move the images up into the folders of "
                "their classes, or write the labels into a metadata.csv"
            )
        for description in joined.list_missing() if joined else ():
            if description.is_chosen and (split in (None, ALL) or is_of_split(description.file_name, str(split))):
                yield ImageRef(
                    description.file_name,
                    description.file,
                    0,
                    description.label,
                    description.references,
                    truth=description.truth,
                )

    def _folder_label(self, key: str) -> str | None:
        """Return the name of the subfolder as a label, or None if that folder is the split's."""
        folder = key.rpartition("/")[0]
        split = self.dataset.split
        if not folder or (split not in (None, ALL) and not is_of_split(f"{folder.rpartition('/')[0]}/x", str(split))):
            return None
        return escape_unencodable(folder.rpartition("/")[2])

    def _refuse_nothing(self, selection: Selection, others: SkippedFiles) -> None:
        source = self.dataset.source
        if selection.count_data and self.dataset.split:
            selection.refuse_missing()
        if not others.count and object_listing.find_entry(source):
            raise unknown_file(source)
        some = f", but like {printable(', '.join(others.examples))}" if others.count else ""
        raise InputError(
            f"dataset {source}: none of its {others.count} files is named like an image (.jpg, .png, .webp, ...){some}"
            f"; check the URI{archives_among(others.examples)}{manifests_among(others.examples)}"
        )

    def _fetch_image(self, ref: ImageRef, where: str) -> FetchedImage:
        if where.rpartition("/")[2] in METADATA:  # the place is a metadata file, so the image is missing
            return FetchedImage(detail=f"named in {where} but not there")
        place = f"{self.dataset.source}/{_as_key(where)}"
        fetched = fetch_place(place, self.dataset.source)
        if fetched.absent and not os.path.islink(place):  # a link may be broken; any other file was listed before
            remedy = "is it mounted on this node too, or did the source change?"
            raise RetryableError(
                f"dataset {self.dataset.source}: {ref.image_id} was listed and cannot be read; {remedy}"
            )
        return fetched


def _as_where(key: str) -> str:
    """Return the key as a text that any table can hold, because names of local files may be any bytes."""
    return key.encode("utf-8", "surrogateescape").decode("latin-1")


def _as_key(where: str) -> str:
    return where.encode("latin-1").decode("utf-8", "surrogateescape")
