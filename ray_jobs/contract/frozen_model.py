"""The base of models that are read-only and refuse unknown keys. The sections of a suite and parts of files use it."""

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
