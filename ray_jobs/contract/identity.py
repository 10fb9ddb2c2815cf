"""Decides which settings of a section enter an id, so that a new setting at its default changes no id.

The ids of a spec call this, in the control plane and in the jobs. An id always contains the `IDENTIFYING` fields, which
are those of the first release. It contains a later field only if the value is not the default. `ELSEWHERE` fields never
enter. So give a new field a default that means "as before". Never change that default afterwards, because an id without
the field means the field's first default.
"""

from typing import Any, ClassVar

from pydantic import BaseModel


class Identified(BaseModel):
    """A section of settings. `ELSEWHERE` gives the reason for each field that does not enter the section's id."""

    IDENTIFYING: ClassVar[frozenset[str]] = frozenset()
    ELSEWHERE: ClassVar[dict[str, str]] = {}

    def identity(self) -> dict[str, Any]:
        """Returns the values of the fields that determine an id, by name."""
        cls = type(self)
        later = cls.model_fields.keys() - cls.IDENTIFYING - cls.ELSEWHERE.keys()
        changed = {name for name in later if not _is_default(self, name)}
        return {name: _content(getattr(self, name)) for name in sorted(cls.IDENTIFYING | changed)}


def _is_default(section: BaseModel, name: str) -> bool:
    field = type(section).model_fields[name]
    return not field.is_required() and bool(getattr(section, name) == field.get_default(call_default_factory=True))


def _content(value: Any) -> Any:
    """Returns the value as it is hashed, with each section inside it replaced by its own identity."""
    if isinstance(value, Identified):
        return value.identity()
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, dict):
        return {key: _content(item) for key, item in value.items()}
    return [_content(item) for item in value] if isinstance(value, list | tuple) else value
