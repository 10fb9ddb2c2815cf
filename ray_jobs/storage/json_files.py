"""Reads and replaces the JSON files that Assay keeps, and never replaces a file of a newer Assay.

The control plane and the jobs read and replace their JSON through this module. A reader keeps unknown keys, so a file
that is read and written again loses nothing.
"""

import json
from contextlib import suppress
from typing import Any, TypeVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from ray_jobs.contract.stored_model import SCHEMA, NewerSchema, StoredModel, check_schema
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import objects

LARGEST = 256 * 2**20  # bytes of a JSON file; the index of 100,000 runs takes half of this

Model = TypeVar("Model", bound=StoredModel)


class _Header(BaseModel):
    """The schema of any JSON object."""

    schema_version: Any = Field(SCHEMA, alias="schema")


def load(model: type[Model], uri: str, at_most: int = LARGEST) -> Model:
    """Returns the object at the URI.

    Raises FileNotFoundError if there is none, ValueError if the file does not match the model, NewerSchema for a file
    of a newer Assay, and InputError for more than `at_most` bytes.
    """
    return parse(model, objects.read(uri, at_most), uri)


def parse(model: type[Model], data: bytes, uri: str) -> Model:
    """Returns the object in the bytes that were read at the URI. Raises ValueError and NewerSchema as `load` does."""
    try:
        return model.model_validate_json(data, extra="allow")
    except NewerSchema as newer:
        raise NewerSchema(f"{uri}: {newer}") from None


def load_json(uri: str, at_most: int = LARGEST) -> dict[str, Any]:
    """Returns the JSON object at the URI, for files without a model. Raises as `load` does."""
    data = objects.read(uri, at_most)
    check(data, uri)
    content: dict[str, Any] = TypeAdapter(dict[str, Any]).validate_json(data)
    content.pop("schema", None)
    return content


def dump_json(content: dict[str, Any]) -> bytes:
    """Returns the bytes of the file of a JSON object without a model."""
    return json.dumps({"schema": SCHEMA} | content, indent=1).encode()


def check(data: bytes, uri: str) -> None:
    """Raises NewerSchema when the bytes that were read at the URI are JSON of a newer schema."""
    try:
        header = _Header.model_validate_json(data)
    except ValidationError:  # not JSON, or not an object: no version of Assay wrote it
        return
    try:
        check_schema(header.schema_version)
    except NewerSchema as newer:
        raise NewerSchema(f"{uri}: {newer}") from None


def check_replaceable(uri: str) -> None:
    """Raises NewerSchema when the file at the URI is of a newer schema, so must be neither replaced nor deleted."""
    with suppress(FileNotFoundError):
        _check_present(uri)


def replace(uri: str, content: StoredModel) -> None:
    """Write the object, and replace a file that this version may replace. Raises NewerSchema."""
    check_replaceable(uri)
    objects.write(uri, content.model_dump_json(indent=1).encode())


def remove(uri: str) -> None:
    """Delete the file at the URI, if any. Raises NewerSchema."""
    try:
        _check_present(uri)
    except FileNotFoundError:
        return
    objects.delete(uri)


def _check_present(uri: str) -> None:
    """Raises NewerSchema when the file at the URI is of a newer schema, and FileNotFoundError when there is none."""
    try:
        data = objects.read(uri, LARGEST)
    except InputError:  # a file so large, a pipe or a device: Assay did not write it
        return
    check(data, uri)
