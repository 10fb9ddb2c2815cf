"""Read side files: `00000.txt` and `00000.json` beside `00000.jpg`, as img2dataset and training tools write them.

The suite names references and labels as in a WebDataset: by the suffix of the file, or by a key of the JSON.
`folder` calls this module.
"""

import json
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath
from typing import Any, Self

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.dataset.source_files import ALL, Selection
from ray_jobs.inputs.errors import InputError, RetryableError, suggest
from ray_jobs.sources.cells.values import RowTexts, read_texts
from ray_jobs.sources.listing.bounds import MOST_LINE
from ray_jobs.sources.listing.unknown_files import manifests_among
from ray_jobs.sources.reading import allowed_places
from ray_jobs.sources.reading.fetch import ABSENT
from ray_jobs.sources.source import SUFFIXES
from ray_jobs.storage import object_listing, objects

LOOKED_AT = 1000  # files that are searched for side files
MARK = "//"  # marks a place with side files, because no key begins like this


@dataclass(frozen=True)
class SideFiles:
    """The suffixes of the files that hold the references and the label."""

    references: str
    label: str | None

    def owns(self, key: str) -> bool:
        return key.lower().endswith((f".{self.references}", f".{self.label}", ".json", ".txt", ".parquet"))

    def add_to_place(self, where: str) -> str:
        return MARK + json.dumps([where, self.references, self.label])

    @classmethod
    def parse_place(cls, where: str) -> tuple[str, Self | None]:
        """Return the place without its mark, and its side files or None."""
        if not where.startswith(MARK):
            return where, None
        place, references, label = json.loads(where[len(MARK) :])
        return place, cls(references, label)

    def read(self, uri: str, dataset: Dataset) -> RowTexts:
        """Return the label and the references in the side files of the image at the URI; empty without side files."""
        try:
            files = {
                suffix: _read_side_file(uri, suffix, dataset.source)
                for suffix in {self.references, self.label}
                if suffix
            }
            cells = {
                name or "": _value(files, suffix, name)
                for name, suffix in ((dataset.references, self.references), (dataset.label, self.label))
            }
        except InputError as error:
            return RowTexts(fault=" ".join(str(error).split()))
        return read_texts(cells, dataset.label if self.label else None, dataset.references)


def find_side_files(dataset: Dataset) -> SideFiles:
    """Find the side files of the first images that hold the dataset's references and label.

    Raises InputError if there are none for the references.
    """
    source = dataset.source
    selection = Selection(source, dataset.split, SUFFIXES["folder"])
    taken = (entry.key for entry in object_listing.iterate_entries(source) if selection.takes(entry.key))
    keys = set(islice(taken, LOOKED_AT))
    if dataset.split and selection.count_data and not selection.count_chosen and dataset.split != ALL:
        selection.refuse_missing()
    stems = sorted(_stem(key) for key in keys if key.lower().endswith(SUFFIXES["folder"]))
    suffixes = {suffix for stem in stems for suffix in ("txt", "json", dataset.references, dataset.label)
                if suffix and f"{stem}.{suffix}" in keys}  # fmt: skip
    described = next((stem for stem in stems if f"{stem}.json" in keys), None)
    known = list(_parse_json(_read_side_file(f"{source}/{described}.json", "json", source))) if described else []
    found_suffixes = [_suffix(name, suffixes, known) for name in (dataset.references, dataset.label)]
    if found_suffixes[0] is None:
        if not suffixes:
            fault = f"references {dataset.references!r} need a metadata.jsonl or metadata.csv, or side files (0.txt)"
            others = sorted(key for key in keys if _stem(key) not in stems)
            raise InputError(f"dataset {source}: {fault}{manifests_among(others)}")
        hint = suggest(str(dataset.references), sorted(suffixes) + known)
        raise InputError(f"dataset {source}: no side file or key {dataset.references!r} for references{hint}")
    if found_suffixes[1] and dataset.stratify:
        raise InputError(
            f"dataset {source}: `stratify` needs the labels in a metadata.csv, not in side files; write one"
        )
    return SideFiles(found_suffixes[0], found_suffixes[1])


def _suffix(name: str | None, suffixes: set[str], known: list[str]) -> str | None:
    """Return the suffix of the side file that holds the value of this name, or None."""
    if name in suffixes:
        return name
    return "json" if name in known else None


def _stem(key: str) -> str:
    return key.removesuffix(PurePosixPath(key).suffix)


def _read_side_file(uri: str, suffix: str, home: str) -> bytes | None:
    """Return the bytes of an image's side file, or None if there is none.

    Raises InputError for a link out of the data set, as for an image. The target, such as the job's own environment,
    would otherwise become a reference that people read.
    """
    place = f"{_stem(uri)}.{suffix}" if not uri.endswith(f".{suffix}") else uri
    try:
        allowed_places.check_place(place, home)
        return objects.read(place, at_most=MOST_LINE)
    except FileNotFoundError:
        return None
    except allowed_places.PlaceRefused as error:
        raise InputError(f"its side file .{suffix}: {error}") from None
    except OSError as error:
        if error.errno not in ABSENT:
            raise RetryableError(f"cannot read {place}: {error}") from error
        raise InputError(f"its side file .{suffix}: {error.strerror}") from None


def _value(files: dict[str, bytes | None], suffix: str | None, name: str | None) -> Any:
    """Return the text of the side file with that suffix, or the value under that key in the JSON."""
    content = files.get(suffix or "")
    if content is None:
        return None
    if suffix == name:
        return content.strip()
    return _parse_json(content).get(name or "")


def _parse_json(content: bytes | None) -> dict[str, Any]:
    try:
        return dict(json.loads(content or b"{}"))
    except (ValueError, TypeError, RecursionError):
        raise InputError("the image's side file .json is not a JSON object") from None
