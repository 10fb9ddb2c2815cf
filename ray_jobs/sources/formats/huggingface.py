"""Read a Hugging Face dataset, saved to disk (`save_to_disk`) or loaded by name with a pinned revision.

The images are read undecoded. Each worker reads rows by index from memory-mapped files, because such a dataset arrives
as a single block, which is too large as a block of work.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import datasets
from requests.exceptions import RequestException

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.dataset.revision import is_hub_name
from ray_jobs.inputs.errors import InputError, RetryableError, suggest
from ray_jobs.runtime.prefetch import prefetch
from ray_jobs.sources.cells.columns import Columns, choose_columns, log_columns
from ray_jobs.sources.cells.labels import name_label, read_label_names
from ray_jobs.sources.cells.values import RowTexts, read_texts
from ray_jobs.sources.formats.table import read_listed_label
from ray_jobs.sources.reading.fetch import FetchedImage, fetch_cell, reads_at_once
from ray_jobs.sources.source import Distance, ImageRef, SourceImage
from ray_jobs.storage import object_listing
from ray_jobs.storage.arrow_files import explain_arrow_errors, open_arrow
from ray_jobs.storage.arrow_guard import check_ipc, refuse_extensions

BATCH = 1000  # labels listed at a time


class HuggingFaceSource:
    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self._loaded: tuple[datasets.Dataset, Columns] | None = None

    @property
    def distance(self) -> Distance:
        """Return "local", because loading copies a remote dataset to this machine."""
        return "local"

    def list_images(self) -> Iterator[ImageRef]:
        rows, columns = self._open()
        log_columns(self.dataset, columns)
        size = rows.data.nbytes // max(rows.data.num_rows, 1)
        labels = self._read_labels(rows, columns) if self.dataset.stratify else None
        for index in range(len(rows)):
            yield ImageRef(f"{index:08d}", str(index), size, next(labels) if labels else None)

    def read(self, located: Sequence[ImageRef]) -> Iterator[SourceImage]:
        rows, columns = self._open()
        cells = ((ref, rows[int(ref.where)].to_pylist()[0]) for ref in located)
        read = prefetch(self._fetch_row, cells, reads_at_once(self.dataset, "web")) if columns.places else None
        for ref, texts, fetched in read or map(self._fetch_row, cells):
            name, label_id = name_label(texts.label, columns.names, self.dataset)
            references, truth = texts.references, texts.truth
            yield SourceImage(
                ref.image_id, fetched.data, fetched.file, name, label_id, references, fetched.detail, truth
            )

    def __getstate__(self) -> dict[str, Any]:
        return {"dataset": self.dataset, "_loaded": None}  # each worker maps the files itself

    def _fetch_row(self, item: tuple[ImageRef, dict[str, Any]]) -> tuple[ImageRef, RowTexts, FetchedImage]:
        ref, row = item
        columns = self._open()[1]
        texts = read_texts(row, columns.label, columns.references, self.dataset.truth, columns.truth)
        if texts.fault:
            return ref, texts, FetchedImage(detail=texts.fault)
        return ref, texts, fetch_cell(row[columns.image], self.dataset.source)

    def _read_labels(self, rows: datasets.Dataset, columns: Columns) -> Iterator[str | None]:
        for batch in rows.select_columns([columns.label]).iter(BATCH):
            for value in batch.column(columns.label).to_pylist():
                raw = read_listed_label(value)
                name_label(raw, columns.names, self.dataset)  # report a label without a name before any image is read
                yield raw

    def _open(self) -> tuple[datasets.Dataset, Columns]:
        if self._loaded is None:
            loaded = self._take_split(self._load()).with_format("arrow")  # as stored: no feature decodes anything
            columns = choose_columns(self.dataset, self.dataset.source, loaded.features.arrow_schema)
            refuse_extensions(loaded.data.schema, columns.names_to_read(), self.dataset.source)
            names = read_label_names(self.dataset)
            loaded = loaded.select_columns(columns.names_to_read())
            self._check_features(loaded.features, columns)
            self._loaded = loaded, replace(columns, names=names or columns.names)
        return self._loaded

    def _check_features(self, features: Any, columns: Columns) -> None:
        """Raise InputError for a feature that `datasets` decodes, because that opens the file or address in a cell."""
        for name in columns.names_to_read():
            plain = (datasets.Value, datasets.ClassLabel, *((datasets.Image,) if name == columns.image else ()))
            if kind := _first_not_of(plain, features[name]):
                fault = f"column {name!r} is of the type {kind}, which is not read; write it as texts or numbers"
                raise InputError(f"dataset {self.dataset.source}: {fault}")

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
            raise RetryableError(f"dataset {source}: cannot be loaded now: {' '.join(str(error).split())}") from error
        except InputError:
            raise
        except Exception as error:  # the loaders of the library may raise anything
            raise InputError(f"dataset {source}: cannot be loaded: {' '.join(str(error).split())}") from error

    def _check_files(self) -> None:
        for entry in object_listing.iterate_entries(self.dataset.source):
            uri = f"{self.dataset.source}/{entry.key}"
            if entry.key.endswith(".arrow"):
                with explain_arrow_errors(uri, "readable as Arrow"), open_arrow(uri) as file:
                    check_ipc(file, uri)

    def _take_split(self, loaded: Any) -> Any:
        if isinstance(loaded, datasets.DatasetDict):
            names = sorted(loaded)
            split = self.dataset.split or (names[0] if len(names) == 1 else None)
            if split is None:
                raise InputError(f"dataset {self.dataset.source}: name its `split`: {', '.join(names)}")
            if split not in loaded:
                raise InputError(f"dataset {self.dataset.source}: no split {split!r}{suggest(split, names)}")
            loaded = loaded[split]
        elif self.dataset.split and not is_hub_name(self.dataset) and str(loaded.split) != self.dataset.split:
            fault = f"it has no splits to take {self.dataset.split!r} from; take `split` out"
            raise InputError(f"dataset {self.dataset.source}: {fault}")
        return loaded


def _first_not_of(plain: tuple[type, ...], feature: Any) -> str | None:
    """Return the type name of the first feature, inside lists and objects too, that is not a plain type, or None."""
    if isinstance(feature, dict):
        return next((name for inner in feature.values() if (name := _first_not_of(plain, inner))), None)
    if inner := _item_types(feature):
        return _first_not_of(plain, inner[0])
    return None if isinstance(feature, plain) else type(feature).__name__


def _item_types(feature: Any) -> list[Any]:
    """Return the feature of a list's items in a list, or an empty list if the feature is not a list."""
    if isinstance(feature, list):
        return feature[:1]
    inner = getattr(feature, "feature", None)
    return [] if inner is None else [inner]
