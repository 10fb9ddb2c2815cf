"""Where images come from. A source counts its rows, tells where chosen rows lie, and reads them in a worker.

`locate` runs once, on the driver, and returns something small to send; `read` runs in a Ray task and streams.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ray_jobs import storage
from ray_jobs.contract import BadInput, Dataset
from ray_jobs.plan import is_hub_name


@dataclass(frozen=True)
class Row:
    """One image as the source has it. `data` is None when it could not be read, and `detail` then says why."""

    image_id: str
    data: bytes | None
    label: str | None = None
    references: list[str] = field(default_factory=list)
    detail: str = ""


class Source(Protocol):
    def count(self) -> int:
        """How many rows there are; raises BadInput when the source is not what its settings say."""

    def locate(self, indices: Sequence[int]) -> Any:
        """What `read` needs for these rows, small enough to send to a worker."""

    def read(self, located: Any) -> Iterator[Row]:
        """The located rows, in order; a row that cannot be read comes without data."""


def open_source(dataset: Dataset) -> Source:
    """The source of a dataset's format; `auto` goes by what lies there. Raises BadInput."""
    kind = dataset.format if dataset.format != "auto" else _detect(dataset)
    if kind == "parquet":
        from ray_jobs.sources.parquet import ParquetSource

        return ParquetSource(dataset)
    if kind == "huggingface":
        from ray_jobs.sources.huggingface import HuggingFaceSource

        return HuggingFaceSource(dataset)
    from ray_jobs.sources.folder import FolderSource

    return FolderSource(dataset)


def _detect(dataset: Dataset) -> str:
    if is_hub_name(dataset) or any(
        storage.exists(f"{dataset.source}/{name}") for name in ("dataset_dict.json", "dataset_info.json")
    ):
        return "huggingface"
    if dataset.source.endswith(".parquet"):
        return "parquet"
    first = next(iter(storage.entries(dataset.source)), None)
    if first is None:
        raise BadInput(f"dataset {dataset.source}: nothing is there; check the URI")
    only_parquet = all(
        entry.key.endswith(".parquet") for entry in storage.entries(dataset.source) if not entry.key.startswith("_")
    )
    return "parquet" if only_parquet else "folder"


def texts(value: Any) -> list[str]:
    """A row's references, whether it has one text, a list of them or none."""
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    return [str(text) for text in value]


def image_bytes(value: Any) -> tuple[bytes | None, str]:
    """The bytes of an image cell: raw bytes, or the `{'bytes', 'path'}` struct of Hugging Face datasets."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value), ""
    if isinstance(value, dict):
        if value.get("bytes") is not None:
            return bytes(value["bytes"]), ""
        path = value.get("path")
        if path:
            try:
                return storage.read(path), ""
            except (OSError, BadInput) as error:
                return None, f"{path}: {error}"
    return None, "the image cell is empty"
