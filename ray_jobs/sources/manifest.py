"""A manifest: a JSONL, CSV or TSV file whose rows name images, by paths relative to it or absolute, s3:// or http(s)://."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Any

from ray_jobs.contract import BadInput, Dataset
from ray_jobs.sources import SUFFIXES, Distance, Located, Row, web
from ray_jobs.sources.cell_texts import CellFault
from ray_jobs.sources.cells import read_texts
from ray_jobs.sources.columns import PLACES, Columns, check, check_truth, preferred, tell
from ray_jobs.sources.image_cells import as_data_url, is_inline, read_image
from ray_jobs.sources.labels import label_names, named
from ray_jobs.sources.on_disk import names as unique_names
from ray_jobs.sources.reading import Fetched, ahead, beside, distance_of, fetch_cell, reads_at_once
from ray_jobs.sources.rows import Cells, rows

HEAD = 100  # rows looked at to find the column of the images


class ManifestSource:
    def __init__(self, dataset: Dataset) -> None:
        if not dataset.source.lower().endswith(SUFFIXES["manifest"]):
            told = ", ".join(SUFFIXES["manifest"])
            raise BadInput(f"dataset {dataset.source}: not a manifest by its name; it must end in one of {told}")
        self.dataset = dataset

    @property
    def distance(self) -> Distance:
        """That of the first image."""
        head = list(islice(rows(self.dataset.source), HEAD))
        image = self._columns(head).image
        places = (_read_place(cells.get(image))[0] for _, cells in head)
        place = next((place for place in places if place), "")
        return distance_of(beside(self._folder(), place))

    def listed(self) -> Iterator[Located]:
        everything = rows(self.dataset.source)
        head = list(islice(everything, HEAD))
        columns = self._columns(head)
        tell(self.dataset, columns)
        seen: dict[str, None] = {}
        label_by_id = label_names(self.dataset)
        with unique_names() as names:
            for number, cells in chain(head, everything):
                seen.update(dict.fromkeys(cells))
                one = self._located(number, cells, columns)
                named(one.label, label_by_id, self.dataset)  # a label without a name is told before anything is read
                yield replace(one, image_id=names.unique(one.image_id, number))
        check(self.dataset.label, "label", self.dataset.source, list(seen))
        check(self.dataset.references, "references", self.dataset.source, list(seen))
        check_truth(self.dataset, self.dataset.source, list(seen))

    def read(self, located: Sequence[Located]) -> Iterator[Row]:
        names = label_names(self.dataset)
        folder = self._folder()

        def row(one: Located) -> Row:
            if one.fault or not one.where:
                found = Fetched(detail=one.fault or "the row names no image")
            else:
                found = fetch_cell(one.where, folder)
            label, label_id = named(one.label, names, self.dataset)
            return Row(one.image_id, found.data, found.file, label, label_id, one.references, found.detail, one.truth)

        distances = {distance_of(beside(folder, one.where)) for one in located}
        distance: Distance = next((far for far in FARTHEST if far in distances), "local")
        return ahead(row, located, reads_at_once(self.dataset, distance))

    def _located(self, number: int, cells: Cells, columns: Columns) -> Located:
        place, fault = _read_place(cells.get(columns.image))
        texts = read_texts(cells, columns.label, columns.references, self.dataset.truth)
        called = web.public(place) if distance_of(place) == "web" else place
        if not called or is_inline(called):
            called = str(number)
        return Located(called, place, 0, texts.label, texts.references, fault or texts.fault, texts.truth)

    def _columns(self, head: list[tuple[int, Cells]]) -> Columns:
        source = self.dataset.source
        known = list(dict.fromkeys(name for _, cells in head for name in cells))
        if not known:
            raise BadInput(f"dataset {source}: has no rows; write one an image")
        image = check(self.dataset.image, "image", source, known) or preferred(known, PLACES)
        if image is None:
            told = f"cannot tell which of its columns names the images: {', '.join(known)}; set `dataset.image`"
            raise BadInput(f"dataset {source}: {told}")
        return Columns(image, self.dataset.label, self.dataset.references, places=True)

    def _folder(self) -> str:
        return self.dataset.source.rpartition("/")[0] or "."


def _read_place(cell: Any) -> tuple[str, str]:
    """The place of the image that a cell names, a data URL for an image in the cell itself; and why there is none."""
    try:
        image = read_image(cell)
    except CellFault as fault:
        return "", f"its image: {fault}"
    return (as_data_url(image) if isinstance(image, bytes) else image or ""), ""


FARTHEST: tuple[Distance, ...] = ("web", "object-store")
