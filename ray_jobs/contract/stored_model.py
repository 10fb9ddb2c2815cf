"""The base of the models of stored JSON files, and the version of their schema.

Every file has the key `schema`, a whole number. Files of the first releases lack it and are of schema 1. Raise `SCHEMA`
only if a reader of the version before must not use the file. That is so if a key goes, changes its meaning, or gets a
value that its type did not allow. A new optional key does not raise it, because readers keep unknown keys (see
`json_files.load`). An id contains a new setting only if its value is not the default (see `identity`).

Assay never replaces or deletes a file of a newer schema, and never treats it as broken, because its content was costly.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ray_jobs.inputs.errors import InputError

SCHEMA = 1


class NewerSchema(InputError):
    """The schema of a file is newer than this version of Assay. A person must upgrade this plane."""


def check_schema(value: Any) -> int:
    """Returns the schema of a file. Raises NewerSchema if this version does not read it.

    A value that is no number counts as newer, because no version so far has written such a value.
    """
    if type(value) is int and 0 <= value <= SCHEMA:
        return value
    shown = repr(value)[:20]
    raise NewerSchema(f"made by a newer Assay (schema {shown}, this one reads up to {SCHEMA}): upgrade this plane")


class StoredModel(BaseModel):
    """The base of a model that is stored as a file of its own.

    Reading a file of a newer schema raises NewerSchema before any other fault, because the schema is the first field.
    """

    model_config = ConfigDict(
        frozen=True, extra="allow", validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )

    schema_version: int = Field(SCHEMA, alias="schema")

    @field_validator("schema_version", mode="before")
    @classmethod
    def _is_readable(cls, value: Any) -> int:
        return check_schema(value)
