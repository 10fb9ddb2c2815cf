"""What of a section of settings enters an id, so that a later setting at its default moves nobody's id.

Both planes call this, through the ids of a spec. Its rule: an id always holds the `IDENTIFYING` fields, which are those
of the first release, and holds a later field only where its value is not its default. Fields that are `ELSEWHERE` never
enter. Two things follow for whoever adds a field: give it a default that means "as before", and never change that
default afterwards, because ids that do not name the field mean the default it had on its first day.
"""

from typing import Any, ClassVar

from pydantic import BaseModel


class Identified(BaseModel):
    """A section of settings. `ELSEWHERE` says of each field that enters no id of the section why it does not."""

    IDENTIFYING: ClassVar[frozenset[str]] = frozenset()
    ELSEWHERE: ClassVar[dict[str, str]] = {}

    def identity(self) -> dict[str, Any]:
        """The fields that determine an id, by name."""
        cls = type(self)
        later = cls.model_fields.keys() - cls.IDENTIFYING - cls.ELSEWHERE.keys()
        changed = {name for name in later if not _is_default(self, name)}
        return {name: _content(getattr(self, name)) for name in sorted(cls.IDENTIFYING | changed)}


def _is_default(section: BaseModel, name: str) -> bool:
    field = type(section).model_fields[name]
    return not field.is_required() and bool(getattr(section, name) == field.get_default(call_default_factory=True))


def _content(value: Any) -> Any:
    """The value as it is hashed; sections inside it by their own identity."""
    if isinstance(value, Identified):
        return value.identity()
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, dict):
        return {key: _content(item) for key, item in value.items()}
    return [_content(item) for item in value] if isinstance(value, list | tuple) else value
