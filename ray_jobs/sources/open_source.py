"""Open the source of a data set: choose the format, and refuse settings that the format does not use.

`preprocess` and the check of a suite call this.
"""

from itertools import islice

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.dataset.brace_patterns import expand_pattern
from ray_jobs.dataset.revision import SAVED, is_hub_name
from ray_jobs.dataset.source_files import is_left_by_tools
from ray_jobs.inputs.errors import InputError
from ray_jobs.sources.listing.unknown_files import unknown_file
from ray_jobs.sources.settings import refuse_unused
from ray_jobs.sources.source import SUFFIXES, Source
from ray_jobs.storage import object_listing, objects

PEEKED = 1000  # the most entries that are read to detect the format of a folder


def open_source(dataset: Dataset) -> Source:
    """The source of a dataset's format. `auto` detects the format from the files.

    Raises InputError when the files do not tell the format, and for a setting that the format does not use.
    """
    kind = dataset.format if dataset.format != "auto" else _detect_format(dataset)
    refuse_unused(dataset, kind)
    if kind == "parquet":
        from ray_jobs.sources.formats.parquet import parquet_source

        return parquet_source(dataset)
    if kind == "arrow":
        from ray_jobs.sources.formats.arrow import arrow_source

        return arrow_source(dataset)
    if kind == "huggingface":
        from ray_jobs.sources.formats.huggingface import HuggingFaceSource

        return HuggingFaceSource(dataset)
    if kind == "webdataset":
        from ray_jobs.sources.formats.webdataset import WebDatasetSource

        return WebDatasetSource(dataset)
    if kind == "manifest":
        from ray_jobs.sources.formats.manifest import ManifestSource

        return ManifestSource(dataset)
    from ray_jobs.sources.formats.folder import FolderSource

    return FolderSource(dataset)


def _detect_format(dataset: Dataset) -> str:
    source = dataset.source
    if is_hub_name(dataset):
        return "huggingface"
    if kind := _kind(expand_pattern(source)[0]):
        return kind
    if any(objects.exists(f"{source}/{name}") for name in SAVED):
        return "huggingface"
    keys = [entry.key for entry in islice(object_listing.iterate_entries(source), PEEKED)]
    if not keys:
        if object_listing.find_entry(source):
            raise unknown_file(source)
        raise InputError(f"dataset {source}: nothing is there; check the URI")
    kinds = {_kind(key) or "" for key in keys if not is_left_by_tools(key)}
    if "parquet" in kinds and kinds & {"webdataset", "folder"} and _are_beside(keys):
        kinds.remove("parquet")
    formats = sorted(kinds & {"folder", "parquet", "arrow", "webdataset"})
    if len(formats) > 1:
        contents = " and ".join("images" if kind == "folder" else f"{kind} files" for kind in formats)
        raise InputError(f"dataset {source}: holds {contents}; say which with `format`")
    return formats[0] if formats else "folder"


def _are_beside(keys: list[str]) -> bool:
    """True if each Parquet file has a shard or a folder of the same name, because img2dataset writes its log so."""
    shards = {key.removesuffix(".tar") if key.endswith(".tar") else key.rpartition("/")[0] for key in keys}
    whole = keys[:-1] if len(keys) == PEEKED else keys  # the shard of the last file may be beyond the entries read
    return all(key.removesuffix(".parquet") in shards for key in whole if key.endswith(".parquet"))


def _kind(name: str) -> str | None:
    """The format that the suffix of a file name belongs to; None without one."""
    return next((kind for kind, suffixes in SUFFIXES.items() if name.lower().endswith(suffixes)), None)
