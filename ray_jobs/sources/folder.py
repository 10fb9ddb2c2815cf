"""A folder of images, on disk or S3; references and labels from its metadata, else labels from subfolder names."""

import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import PurePosixPath

from ray_jobs import storage
from ray_jobs.contract import BadInput, Dataset, Trouble
from ray_jobs.sources import SUFFIXES, Distance, Located, Row
from ray_jobs.sources.cells import printable
from ray_jobs.sources.labels import label_names, named
from ray_jobs.sources.leftovers import Leftovers
from ray_jobs.sources.metadata import METADATA, Metadata, metadata, metadata_name
from ray_jobs.sources.reading import Fetched, ahead, distance_of, fetched, reads_at_once


class FolderSource:
    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    @property
    def distance(self) -> Distance:
        return distance_of(self.dataset.source)

    def listed(self) -> Iterator[Located]:
        name = metadata_name(self.dataset.source)
        if name is None and self.dataset.references:
            told = f"references {self.dataset.references!r} need a {' or '.join(METADATA)}"
            raise BadInput(f"dataset {self.dataset.source}: {told}")
        names = label_names(self.dataset)
        with metadata(self.dataset, name) if name else nullcontext() as joined:
            for one in self._listed(joined):
                named(one.label, names, self.dataset)  # a label without a name is told before anything is read
                yield one

    def read(self, located: Sequence[Located]) -> Iterator[Row]:
        names = label_names(self.dataset)

        def row(one: Located) -> Row:
            found = Fetched(detail=one.fault) if one.fault else self._fetched(one)
            label, label_id = named(one.label, names, self.dataset)
            return Row(one.image_id, found.data, found.file, label, label_id, one.references, found.detail)

        return ahead(row, located, reads_at_once(self.dataset, self.distance))

    def _listed(self, joined: Metadata | None) -> Iterator[Located]:
        """The images by key, then the rows of the metadata whose file is not there."""
        images, others = 0, Leftovers(self.dataset.source, "like an image")
        for entry in storage.entries(self.dataset.source):
            said = joined.found(entry.key) if joined else None
            if said is None and PurePosixPath(entry.key).suffix.lower() not in SUFFIXES["folder"]:
                if entry.key not in METADATA:
                    others.add(printable(entry.key))
                continue
            images += 1
            label = said.label if said else None
            if self.dataset.label and joined is None and "/" in entry.key:
                label = printable(entry.key.rsplit("/", 2)[-2])
            where = _as_where(entry.key)
            references, fault = (said.references, said.fault) if said else ([], "")
            yield Located(printable(entry.key), where, entry.size, label, references, fault)
        others.tell()
        if not images:
            raise BadInput(
                f"dataset {self.dataset.source}: none of its {others.count} files is named like an image "
                "(.jpg, .png, .webp, ...); check the URI"
            )
        for said in joined.missing() if joined else ():
            yield Located(said.file_name, str(joined and joined.name), 0, said.label, said.references)

    def _fetched(self, one: Located) -> Fetched:
        if one.where in METADATA:  # never an image, so this tells that there is none
            return Fetched(detail=f"named in {one.where} but not there")
        place = f"{self.dataset.source}/{_as_key(one.where)}"
        found = fetched(place, self.dataset.source)
        if found.absent and not os.path.islink(place):  # which may lead nowhere; all else was there a while ago
            told = "is it mounted on this node too, or did the source change?"
            raise Trouble(f"dataset {self.dataset.source}: {one.image_id} was listed and cannot be read; {told}")
        return found


def _as_where(key: str) -> str:
    """The key as a text that any table can hold: names of local files may be any bytes."""
    return key.encode("utf-8", "surrogateescape").decode("latin-1")


def _as_key(where: str) -> str:
    return where.encode("latin-1").decode("utf-8", "surrogateescape")
