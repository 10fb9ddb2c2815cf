"""The base of a suite's sections."""

from typing import Any, get_args

from pydantic import ConfigDict, model_validator

from ray_jobs.contract.frozen_model import FrozenModel
from ray_jobs.contract.identity import Identified


class SuiteSection(Identified, FrozenModel):
    """A part of a suite. `.inf` and `.nan` are YAML but not JSON, which is what a spec is kept as."""

    model_config = ConfigDict(allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_no_booleans(cls, given: Any) -> Any:
        """`limit: yes` would be the number 1."""
        for name, value in given.items() if isinstance(given, dict) else ():
            if isinstance(value, bool) and name in cls.model_fields:
                kind = cls.model_fields[name].annotation
                if bool not in (kind, *get_args(kind)) and {int, float} & {kind, *get_args(kind)}:
                    raise ValueError(f"`{name}` must be a number, not {str(value).lower()}")
        return given
