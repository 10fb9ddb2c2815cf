"""Choose the columns of a table that contain the images, labels, references and right values.

The sources call this, in the process that lists or reads a source.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.inputs.errors import InputError, suggest
from ray_jobs.storage.arrow_guard import refuse_extensions

log = logging.getLogger("assay")
IMAGES = ("image", "img", "jpg", "jpeg", "png", "webp", "picture", "photo", "image_bytes", "bytes", "content", "images")
PLACES = (
    "image", "file_name", "filename", "image_path", "path", "file", "filepath", "image_url", "url", "uri", "images",
    "image_name", "image_file", "img_path", "img",
)  # fmt: skip


@dataclass(frozen=True)
class Columns:
    """The chosen columns of a table.

    `places` says that the image column contains paths or URLs. `names` has the class names of the label by id, if any.
    `partition_values` has the columns that a file's folders give to all of its rows (`label=cat/`). `truth` has the
    columns of right values with the types that Hugging Face datasets give them.
    """

    image: str
    label: str | None = None
    references: str | None = None
    places: bool = False
    names: Mapping[str, str] | None = None
    partition_values: Mapping[str, str] = field(default_factory=dict)
    truth: Mapping[str, Any] = field(default_factory=dict)

    def names_to_read(self) -> list[str]:
        """The names of the columns to read, each once."""
        chosen = dict.fromkeys(name for name in (self.image, self.label, self.references, *self.truth) if name)
        return [name for name in chosen if name not in self.partition_values]


def choose_columns(
    dataset: Dataset,
    where: str,
    schema: pa.Schema,
    partitions: Mapping[str, str] | None = None,
    known: str | None = None,
) -> Columns:
    """The columns of a table with this schema and of its folders.

    `known` is the image column when other files have settled it. Raises InputError when a named column is missing, or
    when no image column can be chosen.
    """
    types = _huggingface_types(schema)
    partition_values = {name: value for name, value in (partitions or {}).items() if name not in schema.names}
    image = (
        check_column(dataset.image, "image", where, schema.names) or known or _choose_image_column(where, schema, types)
    )
    label = check_column(dataset.label, "label", where, [*schema.names, *partition_values])
    references = check_column(dataset.references, "references", where, [*schema.names, *partition_values])
    kind = types.get(label or "", {})
    kind = kind["feature"] if isinstance(kind.get("feature"), dict) else kind  # a list of class labels
    names = kind.get("names") if kind.get("_type") == "ClassLabel" else None
    truth = check_truth_columns(dataset, where, [*schema.names, *partition_values])
    wanted = [name for name in (image, label, references, *truth) if name and name not in partition_values]
    for name in wanted:
        if (count := schema.names.count(name)) > 1:
            raise InputError(f"dataset {where}: has {count} columns {name!r}; rename all but one")
    refuse_extensions(schema, wanted, where)
    return Columns(
        image,
        label,
        references,
        _holds_places(schema.field(image).type),
        None if names is None else {str(number): str(name) for number, name in enumerate(names)},
        partition_values,
        {name: types.get(name) for name in truth},
    )


def check_column(column: str | None, role: str, where: str, names: list[str]) -> str | None:
    """The column itself. Raises InputError when the table has no column of that name."""
    if column and column not in names:
        raise InputError(f"dataset {where}: no column {column!r} for {role}{suggest(column, names)}")
    return column


def check_truth_columns(dataset: Dataset, where: str, names: list[str]) -> tuple[str, ...]:
    """The columns that contain the right values of fields. Raises InputError when one is missing."""
    for name, column in dataset.truth.items():
        check_column(column, f"the truth of {name!r}", where, names)
    return tuple(dataset.truth.values())


def choose_preferred(candidates: Iterable[str], order: tuple[str, ...]) -> str | None:
    """The candidate that comes first in `order`, whatever its case; None when `order` has none of them."""
    lowered = {name.lower(): name for name in reversed(list(candidates))}
    return next((lowered[name] for name in order if name in lowered), None)


def log_columns(dataset: Dataset, columns: Columns) -> None:
    """Log the chosen columns."""
    columns_by_role = {"image": columns.image, "label": columns.label, "references": columns.references}
    log.info(
        "dataset %s: columns %s", dataset.source, ", ".join(f"{a} = {b!r}" for a, b in columns_by_role.items() if b)
    )


def _choose_image_column(where: str, schema: pa.Schema, types: dict[str, dict[str, Any]]) -> str:
    """The name of the image column. Raises InputError when no column, or more than one, fits.

    Image features come first, then columns that can contain bytes, then texts that are named like places of images.
    Then come the forms that writers make of these: lists, and a column without a type when no cell has a value.
    """
    features = [str(name) for name in schema.names if types.get(name, {}).get("_type") == "Image"]
    with_bytes = [str(field.name) for field in schema if _holds_bytes(field.type)]
    candidates = features or with_bytes
    if not candidates:
        if named_so := choose_preferred([str(field.name) for field in schema if _is_text(field.type)], PLACES):
            return named_so
        candidates = [str(field.name) for field in schema if _is_list(field.type) and _holds_bytes(_inner(field.type))]
    if len(candidates) == 1:
        return candidates[0]
    if named_so := choose_preferred(candidates, IMAGES):
        return named_so
    if not candidates:
        places = [str(field.name) for field in schema if _holds_places(field.type)]
        untyped = [str(field.name) for field in schema if pa.types.is_null(field.type)]
        if named_so := choose_preferred(places, PLACES) or choose_preferred(untyped, (*IMAGES, *PLACES)):
            return named_so
    pronoun = "which" if candidates else "that any"
    raise InputError(
        f"dataset {where}: cannot tell {pronoun} of its columns holds the images: "
        f"{', '.join(f'{field.name} ({field.type})' for field in schema)}; set `dataset.image`"
    )


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _holds_bytes(kind.value_type)
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _holds_bytes(field.type) for field in kind)
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _inner(kind: pa.DataType) -> pa.DataType:
    """The type of the values in a list or a dictionary; any other type unchanged."""
    return kind.value_type if _is_list(kind) or pa.types.is_dictionary(kind) else kind


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )


def _holds_places(kind: pa.DataType) -> bool:
    """True if a cell may be the place of an image: a text, also in a list or a category, or an object with a path."""
    kind = _inner(kind)
    if pa.types.is_struct(kind):
        return not _holds_bytes(kind) and any(field.name in ("path", "url") and _is_text(field.type) for field in kind)
    return _is_text(kind)


def _huggingface_types(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """Features by column, as `datasets.Features.from_arrow_schema` reads them. Importing `datasets` takes seconds."""
    try:
        types = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return {name: kind for name, kind in types.items() if isinstance(kind, dict)} if isinstance(types, dict) else {}
