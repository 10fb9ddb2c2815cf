"""Where images come from: a source lists what it has, one image after the other, and reads what it is asked for.

`listed` runs on the driver and streams; `read` runs in a Ray task. What lies between them is a table on disk.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal, Protocol

from ray_jobs import storage
from ray_jobs.contract import BadInput, Dataset
from ray_jobs.images import formats
from ray_jobs.plan import SAVED, expanded, is_hub_name
from ray_jobs.source_files import MANIFESTS, is_left_by_tools
from ray_jobs.sources.settings import refuse_unused
from ray_jobs.sources.unknown import unknown_file

Distance = Literal["local", "object-store", "web"]

SUFFIXES = {
    "manifest": MANIFESTS,
    "parquet": (".parquet",),
    "arrow": (".arrow", ".feather"),
    "webdataset": (".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz"),
    "folder": formats.SUFFIXES,
}
PEEKED = 1000  # entries looked at to tell what a folder holds


@dataclass(frozen=True)
class Located:
    """One image as the listing has it. `where` is for `read`; `size` in bytes, 0 when the listing does not tell.

    `label` is as the source writes it: its id where `read` gives a name. `fault` is why it cannot be read, if it is
    known by now: what its row holds of label or references is of no use. `truth` are the right values of fields, as
    JSON.
    """

    image_id: str
    where: str
    size: int = 0
    label: str | None = None
    references: list[str] = field(default_factory=list)
    fault: str = ""
    truth: str | None = None


@dataclass(frozen=True)
class Row:
    """One image as the source has it: its bytes, or the local file to read, or neither, and `detail` says why.

    `label` is the name of the class, `label_id` what the source has for it.
    """

    image_id: str
    data: bytes | None
    file: Path | None = None
    label: str | None = None
    label_id: str | None = None
    references: list[str] = field(default_factory=list)
    detail: str = ""
    truth: str | None = None


class Source(Protocol):
    @property
    def distance(self) -> Distance:
        """How far away the bytes lie: it decides how many are read at once."""

    def listed(self) -> Iterator[Located]:
        """Every image, in an order that depends on the content alone; labels at least where the sample needs them.

        Raises BadInput when the source is not what its settings say. A row that cannot be an image is listed too: what
        is not listed is not counted.
        """

    def read(self, located: Sequence[Located]) -> Iterator[Row]:
        """The located images, in that order. Raises Trouble when trying again may help."""


def open_source(dataset: Dataset) -> Source:
    """The source of a dataset's format; `auto` goes by what lies there.

    Raises BadInput when that does not tell, and for a setting that the format does not use.
    """
    kind = dataset.format if dataset.format != "auto" else _detected(dataset)
    refuse_unused(dataset, kind)
    if kind == "parquet":
        from ray_jobs.sources.parquet import parquet_source

        return parquet_source(dataset)
    if kind == "arrow":
        from ray_jobs.sources.arrow import arrow_source

        return arrow_source(dataset)
    if kind == "huggingface":
        from ray_jobs.sources.huggingface import HuggingFaceSource

        return HuggingFaceSource(dataset)
    if kind == "webdataset":
        from ray_jobs.sources.webdataset import WebDatasetSource

        return WebDatasetSource(dataset)
    if kind == "manifest":
        from ray_jobs.sources.manifest import ManifestSource

        return ManifestSource(dataset)
    from ray_jobs.sources.folder import FolderSource

    return FolderSource(dataset)


def _detected(dataset: Dataset) -> str:
    source = dataset.source
    if is_hub_name(dataset):
        return "huggingface"
    if kind := _kind(expanded(source)[0]):
        return kind
    if any(storage.exists(f"{source}/{name}") for name in SAVED):
        return "huggingface"
    keys = [entry.key for entry in islice(storage.entries(source), PEEKED)]
    if not keys:
        if storage.entry(source):
            raise unknown_file(source)
        raise BadInput(f"dataset {source}: nothing is there; check the URI")
    kinds = {_kind(key) or "" for key in keys if not is_left_by_tools(key)}
    if "parquet" in kinds and kinds & {"webdataset", "folder"} and _are_beside(keys):
        kinds.remove("parquet")
    found = sorted(kinds & {"folder", "parquet", "arrow", "webdataset"})
    if len(found) > 1:
        held = " and ".join("images" if kind == "folder" else f"{kind} files" for kind in found)
        raise BadInput(f"dataset {source}: holds {held}; say which with `format`")
    return found[0] if found else "folder"


def _are_beside(keys: list[str]) -> bool:
    """Whether each Parquet file has a shard or a folder of its own name: img2dataset writes its log there."""
    shards = {key.removesuffix(".tar") if key.endswith(".tar") else key.rpartition("/")[0] for key in keys}
    whole = keys[:-1] if len(keys) == PEEKED else keys  # what belongs to the last one may not have been looked at
    return all(key.removesuffix(".parquet") in shards for key in whole if key.endswith(".parquet"))


def _kind(name: str) -> str | None:
    """The format that a file name speaks for, None when for none."""
    return next((kind for kind, suffixes in SUFFIXES.items() if name.lower().endswith(suffixes)), None)
