"""The base of a suite's sections, one of which is the whole suite."""

from typing import Any, get_args

from pydantic import ConfigDict, model_validator

from ray_jobs.contract.frozen_model import FrozenModel
from ray_jobs.contract.identity import Identified


class SuiteSection(Identified, FrozenModel):
    """A section of a suite. It refuses `.inf` and `.nan`, because a spec is stored as JSON, which lacks both."""

    model_config = ConfigDict(allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_booleans_as_numbers(cls, raw: Any) -> Any:
        """Without this check, `limit: yes` would mean the number 1."""
        for name, value in raw.items() if isinstance(raw, dict) else ():
            if isinstance(value, bool) and name in cls.model_fields:
                kind = cls.model_fields[name].annotation
                if bool not in (kind, *get_args(kind)) and {int, float} & {kind, *get_args(kind)}:
                    raise ValueError(f"`{name}` must be a number, not {str(value).lower()}")
        return raw
