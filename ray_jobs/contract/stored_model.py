"""The schema of the files that Assay keeps, and the base of their models.

Every file carries `schema`, a whole number; files of releases before it have none and are of schema 1. Raise `SCHEMA`
only when a reader of the version before must not use the file: when a key changes its meaning or goes, or gets a value
that its type did not have. A new optional key does not raise it: readers keep unknown keys (see `json_files.load`), and
an id contains a new setting only if its value is not the default (see `identity`).

A file of a newer schema is never replaced, deleted or taken for a broken file, because its content was costly to make.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ray_jobs.inputs.errors import InputError

SCHEMA = 1


class NewerSchema(InputError):
    """A file is of a schema that this version does not read: this plane must be upgraded."""


def check_schema(value: Any) -> int:
    """The schema of a file if this version reads it. Raises NewerSchema: also for what is no number, because no
    version up to this one has written it."""
    if type(value) is int and 0 <= value <= SCHEMA:
        return value
    shown = repr(value)[:20]
    raise NewerSchema(f"made by a newer Assay (schema {shown}, this one reads up to {SCHEMA}): upgrade this plane")


class StoredModel(BaseModel):
    """The base of what is kept as a file of its own. Reading one of a newer schema raises NewerSchema, whatever else
    in it this version would refuse, because the schema is the first field."""

    model_config = ConfigDict(
        frozen=True, extra="allow", validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )

    schema_version: int = Field(SCHEMA, alias="schema")

    @field_validator("schema_version", mode="before")
    @classmethod
    def _is_readable(cls, value: Any) -> int:
        return check_schema(value)
