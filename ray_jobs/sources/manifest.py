"""A manifest: a JSONL, CSV or TSV file whose rows name images, by paths relative to it or absolute, s3:// or http(s)://."""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

from ray_jobs.contract import BadInput, Dataset
from ray_jobs.sources import SUFFIXES, Distance, Located, Row, web
from ray_jobs.sources.cells import label_text, printable
from ray_jobs.sources.columns import PLACES, Columns, check, preferred, tell
from ray_jobs.sources.labels import label_names, named
from ray_jobs.sources.on_disk import names as unique_names
from ray_jobs.sources.reading import Fetched, ahead, beside, distance_of, fetched, reads_at_once
from ray_jobs.sources.rows import Cells, references, rows

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
        place = next((place for number, cells in head if (place := self._place(number, cells.get(image)))), "")
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
                yield Located(names.unique(one.image_id, number), one.where, 0, one.label, one.references)
        check(self.dataset.label, "label", self.dataset.source, list(seen))
        check(self.dataset.references, "references", self.dataset.source, list(seen))

    def read(self, located: Sequence[Located]) -> Iterator[Row]:
        names = label_names(self.dataset)
        folder = self._folder()

        def row(one: Located) -> Row:
            found = (
                fetched(beside(folder, one.where), folder) if one.where else Fetched(detail="the row names no image")
            )
            label, label_id = named(one.label, names, self.dataset)
            return Row(one.image_id, found.data, found.file, label, label_id, one.references, found.detail)

        distances = {distance_of(beside(folder, one.where)) for one in located}
        distance: Distance = next((far for far in FARTHEST if far in distances), "local")
        return ahead(row, located, reads_at_once(self.dataset, distance))

    def _located(self, number: int, cells: Cells, columns: Columns) -> Located:
        place = self._place(number, cells.get(columns.image))
        label = label_text(cells.get(columns.label)) if columns.label else None
        said = references(self.dataset.source, cells.get(columns.references)) if columns.references else []
        called = web.public(place) if distance_of(place) == "web" else place
        return Located(called or str(number), place, 0, label, said)

    def _place(self, number: int, cell: Any) -> str:
        if cell is not None and not isinstance(cell, str):
            raise BadInput(
                f"dataset {self.dataset.source}: line {number} names its image by {cell!r}; write a path or URL"
            )
        return printable(cell or "").strip()

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


FARTHEST: tuple[Distance, ...] = ("web", "object-store")
