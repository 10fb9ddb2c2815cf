"""A Hugging Face dataset, saved to disk (`save_to_disk`) or loaded by name with a pinned revision.

Its images are read undecoded, and its rows by index from memory-mapped files in each worker, so that the single block
such a dataset arrives in is never a block of work.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import datasets

from ray_jobs.contract import BadInput, Dataset, nearest
from ray_jobs.plan import is_hub_name
from ray_jobs.sources import Row, image_bytes, texts


class HuggingFaceSource:
    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self._loaded: datasets.Dataset | None = None

    def count(self) -> int:
        return len(self._open())

    def locate(self, indices: Sequence[int]) -> list[int]:
        return [int(index) for index in indices]

    def read(self, located: list[int]) -> Iterator[Row]:
        rows = self._open()
        for index in located:
            cells = rows[index]
            data, detail = image_bytes(cells[self.dataset.image])
            label = self._label(rows, cells) if self.dataset.label else None
            references = texts(cells.get(self.dataset.references)) if self.dataset.references else []
            yield Row(f"{index:08d}", data, label, references, detail)

    def __getstate__(self) -> dict[str, Any]:
        return {"dataset": self.dataset, "_loaded": None}  # each worker maps the files itself

    def _label(self, rows: datasets.Dataset, cells: dict[str, Any]) -> str | None:
        name = str(self.dataset.label)
        value, feature = cells[name], rows.features[name]
        if value is None:
            return None
        return str(feature.int2str(value)) if isinstance(feature, datasets.ClassLabel) and value >= 0 else str(value)

    def _open(self) -> datasets.Dataset:
        if self._loaded is None:
            loaded = self._split(self._load())
            wanted = [column for column in (self.dataset.image, self.dataset.label, self.dataset.references) if column]
            for column in wanted:
                if column not in loaded.column_names:
                    hint = nearest(column, loaded.column_names)
                    raise BadInput(f"dataset {self.dataset.source}: no column {column!r}{hint}")
            loaded = loaded.select_columns(wanted)
            if isinstance(loaded.features[self.dataset.image], datasets.Image):
                loaded = loaded.cast_column(self.dataset.image, datasets.Image(decode=False))
            self._loaded = loaded
        return self._loaded

    def _load(self) -> Any:
        source = self.dataset.source
        try:
            if is_hub_name(self.dataset):
                return datasets.load_dataset(
                    source, self.dataset.config, split=self.dataset.split, revision=self.dataset.revision
                )
            return datasets.load_from_disk(source)
        except Exception as error:  # the library raises whatever its loaders raise
            raise BadInput(f"dataset {source}: cannot be loaded: {' '.join(str(error).split())}") from error

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
