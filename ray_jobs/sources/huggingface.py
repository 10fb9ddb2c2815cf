"""A Hugging Face dataset, saved to disk (`save_to_disk`) or loaded by name with a pinned revision.

Its images are read undecoded, and its rows by index from memory-mapped files in each worker, so that the single block
such a dataset arrives in is never a block of work.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import datasets
from requests.exceptions import RequestException

from ray_jobs import storage
from ray_jobs.arrow_guard import check_ipc, refuse_extensions
from ray_jobs.contract import BadInput, Dataset, Trouble, nearest
from ray_jobs.plan import is_hub_name
from ray_jobs.sources import Distance, Located, Row
from ray_jobs.sources.cells import image_cell, label_text, texts
from ray_jobs.sources.columns import Columns, columns_of, tell
from ray_jobs.sources.filesystem import explained, open_arrow
from ray_jobs.sources.labels import label_names, named
from ray_jobs.sources.reading import Fetched, ahead, beside, fetched, reads_at_once

BATCH = 1000  # labels listed at a time


class HuggingFaceSource:
    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self._loaded: tuple[datasets.Dataset, Columns] | None = None

    @property
    def distance(self) -> Distance:
        """Local: what is not is copied here when it is loaded."""
        return "local"

    def listed(self) -> Iterator[Located]:
        rows, columns = self._open()
        tell(self.dataset, columns)
        size = rows.data.nbytes // max(rows.data.num_rows, 1)
        labels = self._labels(rows, columns) if self.dataset.stratify else None
        for index in range(len(rows)):
            yield Located(f"{index:08d}", str(index), size, next(labels) if labels else None)

    def read(self, located: Sequence[Located]) -> Iterator[Row]:
        rows, columns = self._open()
        cells = ((one, rows[int(one.where)]) for one in located)
        read = ahead(self._fetched, cells, reads_at_once(self.dataset, "web")) if columns.places else None
        for one, row, found in read or map(self._fetched, cells):
            label = label_text(row[columns.label]) if columns.label else None
            references = texts(row[columns.references]) if columns.references else []
            name, label_id = named(label, columns.names, self.dataset)
            yield Row(one.image_id, found.data, found.file, name, label_id, references, found.detail)

    def __getstate__(self) -> dict[str, Any]:
        return {"dataset": self.dataset, "_loaded": None}  # each worker maps the files itself

    def _fetched(self, item: tuple[Located, dict[str, Any]]) -> tuple[Located, dict[str, Any], Fetched]:
        one, row = item
        cell = image_cell(row[self._open()[1].image])
        if isinstance(cell, str):
            return one, row, fetched(beside(self.dataset.source, cell), self.dataset.source)
        return one, row, Fetched(cell, detail="the image cell is empty" if cell is None else "")

    def _labels(self, rows: datasets.Dataset, columns: Columns) -> Iterator[str | None]:
        for batch in rows.select_columns([columns.label]).iter(BATCH):
            for value in batch[columns.label]:
                raw = label_text(value)
                named(raw, columns.names, self.dataset)  # a label without a name is told before anything is read
                yield raw

    def _open(self) -> tuple[datasets.Dataset, Columns]:
        if self._loaded is None:
            loaded = self._split(self._load()).with_format(None)
            columns = columns_of(self.dataset, self.dataset.source, loaded.features.arrow_schema)
            refuse_extensions(loaded.data.schema, columns.wanted(), self.dataset.source)
            names = label_names(self.dataset)
            loaded = loaded.select_columns(columns.wanted())
            self._check_features(loaded.features, columns)
            if isinstance(loaded.features[columns.image], datasets.Image):
                loaded = loaded.cast_column(columns.image, datasets.Image(decode=False))
            self._loaded = loaded, replace(columns, names=names or columns.names)
        return self._loaded

    def _check_features(self, features: Any, columns: Columns) -> None:
        """Raise BadInput for a feature that `datasets` would decode: it opens the file or address that a cell names."""
        for name in columns.wanted():
            plain = (datasets.Value, datasets.ClassLabel, *((datasets.Image,) if name == columns.image else ()))
            inner = getattr(features[name], "feature", features[name])
            inner = inner[0] if isinstance(inner, list) and len(inner) == 1 else inner
            if not isinstance(inner, plain) and not (name == columns.image and isinstance(inner, dict)):
                kind = type(inner).__name__
                told = f"column {name!r} is of the type {kind}, which is not read; write it as texts or numbers"
                raise BadInput(f"dataset {self.dataset.source}: {told}")

    def _load(self) -> Any:
        source = self.dataset.source
        try:
            if is_hub_name(self.dataset):
                return datasets.load_dataset(
                    source, self.dataset.config, split=self.dataset.split, revision=self.dataset.revision
                )
            self._check_files()
            return datasets.load_from_disk(source)
        except (ConnectionError, TimeoutError, RequestException) as error:
            raise Trouble(f"dataset {source}: cannot be loaded now: {' '.join(str(error).split())}") from error
        except BadInput:
            raise
        except Exception as error:  # the library raises whatever its loaders raise
            raise BadInput(f"dataset {source}: cannot be loaded: {' '.join(str(error).split())}") from error

    def _check_files(self) -> None:
        for entry in storage.entries(self.dataset.source):
            uri = f"{self.dataset.source}/{entry.key}"
            if entry.key.endswith(".arrow"):
                with explained(uri, "readable as Arrow"), open_arrow(uri) as file:
                    check_ipc(file, uri)

    def _split(self, loaded: Any) -> Any:
        if isinstance(loaded, datasets.DatasetDict):
            names = sorted(loaded)
            split = self.dataset.split or (names[0] if len(names) == 1 else None)
            if split is None:
                raise BadInput(f"dataset {self.dataset.source}: name its `split`: {', '.join(names)}")
            if split not in loaded:
                raise BadInput(f"dataset {self.dataset.source}: no split {split!r}{nearest(split, names)}")
            loaded = loaded[split]
        return loaded
