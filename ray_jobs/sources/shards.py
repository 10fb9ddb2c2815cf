"""The files that hold many images each: one file, those below a folder, or those that a brace pattern names."""

from collections.abc import Iterator
from functools import lru_cache

from ray_jobs import storage
from ray_jobs.contract import BadInput, Dataset
from ray_jobs.plan import expanded
from ray_jobs.sources.leftovers import Leftovers


def shards(dataset: Dataset, suffixes: tuple[str, ...]) -> Iterator[str]:
    """The names of the files as `uri_of` takes them, in order; the empty name is the source itself.

    Raises BadInput when there are none.
    """
    source = dataset.source
    pattern = expanded(source)
    if pattern != [source]:
        for uri in pattern:
            if storage.entry(uri) is None:
                raise BadInput(f"dataset {source}: {uri} is not there; correct the pattern or add the file")
            yield uri[len(_base(source)) + 1 :]
        return
    found, others = 0, Leftovers(source, " or ".join(suffixes))
    for entry in storage.entries(source):
        if entry.key.lower().endswith(suffixes):
            found += 1
            yield entry.key
        else:
            others.add(entry.key)
    others.tell()
    if not found:
        if storage.entry(source) is None:
            what = (
                f"none of its {others.count} files is named {', '.join(suffixes)}" if others.count else "no such file"
            )
            raise BadInput(f"dataset {source}: {what}; check the URI")
        yield ""


def uri_of(dataset: Dataset, name: str) -> str:
    """The URI of a shard."""
    if not name:
        return dataset.source
    return f"{_base(dataset.source)}/{name}"


def title(dataset: Dataset, name: str) -> str:
    """What the shard is called in ids."""
    return name or dataset.source.rsplit("/", 1)[-1]


@lru_cache(8)
def _base(source: str) -> str:
    """The folder that the names of a source's shards are relative to."""
    return source if expanded(source) == [source] else source[: source.index("{")].rpartition("/")[0]
