"""List the shards of a source, files with many images each: one file, a folder, or the files of a brace pattern.

`table` and `webdataset` call this module.
"""

import logging
from collections.abc import Iterator
from functools import lru_cache

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.dataset.brace_patterns import expand_pattern
from ray_jobs.dataset.source_files import ALL, Selection, is_of_split
from ray_jobs.inputs.errors import InputError
from ray_jobs.sources.listing.skipped_files import SkippedFiles, list_selected
from ray_jobs.storage import object_listing

log = logging.getLogger("assay")


def list_shards(dataset: Dataset, suffixes: tuple[str, ...], has_columns: bool = False) -> Iterator[str]:
    """Yield the names of the shards for `uri_of`, in order. The empty name is the source itself.

    With `split`, only the shards of the split. If no file name says its split and the files have columns, all shards
    are yielded, because a column `split` may name the split. Raises InputError if there are none.
    """
    source = dataset.source
    pattern = expand_pattern(source)
    if pattern != [source]:
        for uri in pattern:
            if object_listing.find_entry(uri) is None:
                raise InputError(f"dataset {source}: {uri} is not there; correct the pattern or add the file")
            if not has_columns:
                _refuse_split(dataset, uri)
            yield uri[len(_base(source)) + 1 :]
        return
    selection = Selection(source, dataset.split, suffixes)
    skipped, count = SkippedFiles(source, " or ".join(suffixes)), 0
    for key in _keys(selection, skipped):
        count += 1
        yield key
    skipped.log()
    if not count and selection.count_data and has_columns and not selection.other_splits:
        yield from _keys(Selection(source, ALL, suffixes), SkippedFiles(source, ""))
    elif not count and selection.count_data:
        selection.refuse_missing()
    elif not count:
        if object_listing.find_entry(source) is None:
            fault = (
                f"none of its {skipped.count} files is named {', '.join(suffixes)}" if skipped.count else "no such file"
            )
            raise InputError(f"dataset {source}: {fault}; check the URI")
        if not has_columns:
            _refuse_split(dataset, source)
        yield ""


def needs_split_column(dataset: Dataset, shard: str) -> bool:
    """True if the shard's name does not say whether it is of the suite's split. Then a column `split` must say it by
    row."""
    if dataset.split in (None, ALL):
        return False
    return is_of_split(shard or shard_title(dataset, shard), str(dataset.split)) is None


def uri_of(dataset: Dataset, name: str) -> str:
    """Return the URI of a shard."""
    if not name:
        return dataset.source
    return f"{_base(dataset.source)}/{name}"


def shard_title(dataset: Dataset, name: str) -> str:
    """Return the name of the shard in ids."""
    return name or dataset.source.rsplit("/", 1)[-1]


def _keys(selection: Selection, others: SkippedFiles) -> Iterator[str]:
    for entry in list_selected(selection):
        if entry.key.lower().endswith(selection.suffixes):
            yield entry.key
        else:
            others.add(entry.key)


def _refuse_split(dataset: Dataset, uri: str) -> None:
    """Raise InputError if the suite names a file whose name does not say that it is of the suite's split."""
    if needs_split_column(dataset, uri.rsplit("/", 1)[-1]):
        fault = f"`split: {dataset.split}` has no effect on a named file; take it out"
        raise InputError(f"dataset {dataset.source}: {fault}")


@lru_cache(8)
def _base(source: str) -> str:
    """Return the folder that the names of a source's shards are relative to."""
    return source if expand_pattern(source) == [source] else source[: source.index("{")].rpartition("/")[0]
