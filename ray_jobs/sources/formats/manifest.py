"""Read a manifest: a file whose rows name images by relative or absolute paths, s3:// or http(s)://.

It may be JSONL, CSV, TSV, or a JSON or text file of `rows.row_files`. If several rows name one image, each row holds a
reference of that image.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain, islice
from typing import Any

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.dataset.revision import find_image_folder
from ray_jobs.dataset.source_files import FIRST_MANIFESTS, is_named_for
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable
from ray_jobs.runtime.prefetch import prefetch
from ray_jobs.sources.cells.columns import (
    PLACES,
    Columns,
    check_column,
    check_truth_columns,
    choose_preferred,
    log_columns,
)
from ray_jobs.sources.cells.images import as_data_url, is_inline, read_image
from ray_jobs.sources.cells.labels import name_label, read_label_names
from ray_jobs.sources.cells.texts import CellFault
from ray_jobs.sources.cells.values import read_texts
from ray_jobs.sources.listing.spill import open_unique_names as unique_names
from ray_jobs.sources.reading import web
from ray_jobs.sources.reading.fetch import FetchedImage, distance_of, fetch_cell, reads_at_once, resolve_path
from ray_jobs.sources.rows.joined_references import join_rows
from ray_jobs.sources.rows.row_files import Cells, read_rows
from ray_jobs.sources.rows.splits import RowSplits, split_column_of_row
from ray_jobs.sources.source import SUFFIXES, Distance, ImageRef, SourceImage
from ray_jobs.storage import objects

HEAD = 100  # rows that are read to find the column of the images
LOOKED_FOR = 5  # images of these rows whose files are checked


class ManifestSource:
    def __init__(self, dataset: Dataset) -> None:
        if not dataset.source.lower().endswith(SUFFIXES["manifest"]):
            suffixes = ", ".join(SUFFIXES["manifest"])
            raise InputError(f"dataset {dataset.source}: not a manifest by its name; it must end in one of {suffixes}")
        self.dataset = dataset

    @property
    def distance(self) -> Distance:
        """Return the distance of the first image."""
        head = list(islice(read_rows(self.dataset.source, head=True), HEAD))
        image = self._choose_columns(head).image
        places = (_read_place(cells.get(image))[0] for _, cells in head)
        place = next((place for place in places if place), "")
        return distance_of(resolve_path(self._folder, place))

    def list_images(self) -> Iterator[ImageRef]:
        everything = read_rows(self.dataset.source)
        head = list(islice(everything, HEAD))
        columns = self._choose_columns(head)
        log_columns(self.dataset, columns)
        self._check_folder(head, columns)
        located = self._list_rows(chain(head, everything), columns)
        if self.dataset.references or self.dataset.label:
            located = join_rows(self.dataset.source, located, self._folder)
        label_by_id = read_label_names(self.dataset)
        with unique_names() as names:
            for number, ref in located:
                name_label(
                    ref.label, label_by_id, self.dataset
                )  # report a label without a name before any image is read
                yield replace(ref, image_id=names.unique(ref.image_id, number))

    def _list_rows(self, everything: Iterator[tuple[int, Cells]], columns: Columns) -> Iterator[tuple[int, ImageRef]]:
        """Yield number and image of each row of the split. Raises InputError last if a named column is missing."""
        source, seen = self.dataset.source, dict[str, None]()
        splits = RowSplits(self.dataset, source)
        has_splits = False
        is_of_one = self.dataset.split is not None and is_named_for(source, self.dataset.split)
        for number, cells in everything:
            seen.update(dict.fromkeys(cells))
            split = split_column_of_row(cells)
            has_splits = has_splits or split in cells
            if splits.takes(cells.get(split)) or (is_of_one and split not in cells):
                yield number, self._build_ref(number, cells, columns)
        check_column(self.dataset.label, "label", source, list(seen))
        check_column(self.dataset.references, "references", source, list(seen))
        check_truth_columns(self.dataset, source, list(seen))
        if has_splits or not is_of_one:
            splits.check()

    def read(self, located: Sequence[ImageRef]) -> Iterator[SourceImage]:
        names = read_label_names(self.dataset)
        folder = self._folder

        def row(ref: ImageRef) -> SourceImage:
            if ref.fault or not ref.where:
                fetched = FetchedImage(detail=ref.fault or "the row names no image")
            else:
                fetched = fetch_cell(ref.where, folder)
            label, label_id = name_label(ref.label, names, self.dataset)
            return SourceImage(
                ref.image_id, fetched.data, fetched.file, label, label_id, ref.references, fetched.detail, ref.truth
            )

        distances = {distance_of(resolve_path(folder, ref.where)) for ref in located}
        distance: Distance = next((far for far in FARTHEST if far in distances), "local")
        return prefetch(row, located, reads_at_once(self.dataset, distance))

    def _build_ref(self, number: int, cells: Cells, columns: Columns) -> ImageRef:
        place, fault = _read_place(cells.get(columns.image))
        texts = read_texts(cells, columns.label, columns.references, self.dataset.truth)
        image_name = web.redact_url(place) if distance_of(place) == "web" else place
        if not image_name or is_inline(image_name):
            image_name = str(number)
        return ImageRef(image_name, place, 0, texts.label, texts.references, fault or texts.fault, texts.truth)

    def _choose_columns(self, head: list[tuple[int, Cells]]) -> Columns:
        source = self.dataset.source
        known = list(dict.fromkeys(name for _, cells in head for name in cells))
        if not known:
            raise InputError(f"dataset {source}: has no rows; write one an image")
        image = check_column(self.dataset.image, "image", source, known) or choose_preferred(known, PLACES)
        if image is None:
            fault = f"cannot tell which of its columns names the images: {', '.join(known)}; set `dataset.image`"
            raise InputError(f"dataset {source}: {fault}")
        return Columns(image, self.dataset.label, self.dataset.references, places=True)

    @cached_property
    def _folder(self) -> str:
        """Return the folder of the images. It is cached, because a search lists folders of up to a million images."""
        return find_image_folder(self.dataset)

    def _check_folder(self, head: list[tuple[int, Cells]], columns: Columns) -> None:
        """Raise InputError if the folder holds none of the first images that are named relative to it.

        A manifest of FIRST_MANIFESTS without `images` is not checked: there each missing image is a reject of its own.
        """
        if self.dataset.images is None and self.dataset.source.lower().endswith(FIRST_MANIFESTS):
            return
        folder = self._folder
        places = [place for _, cells in head if (place := _read_place(cells.get(columns.image))[0])][:LOOKED_FOR]
        relative = [place for place in places if "://" not in place and not place.startswith("/")]
        if relative and len(relative) == len(places) and not any(_is_there(folder, place) for place in relative):
            raise InputError(
                f"dataset {self.dataset.source}: {printable(relative[0], 100)} is not in {folder}, nor are the next "
                f"images; set `images` to the folder that the names are relative to"
            )


def _is_there(folder: str, place: str) -> bool:
    names = dict.fromkeys((place, place.replace("\\", "/")))
    return any("\0" not in name and objects.exists(resolve_path(folder, name)) for name in names)


def _read_place(cell: Any) -> tuple[str, str]:
    """Return the place of a cell's image and its fault. An image in the cell itself has a data URL as its place."""
    try:
        image = read_image(cell)
    except CellFault as fault:
        return "", f"its image: {fault}"
    return (as_data_url(image) if isinstance(image, bytes) else image or ""), ""


FARTHEST: tuple[Distance, ...] = ("web", "object-store")
