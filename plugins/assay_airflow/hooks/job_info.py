"""Validate the answers of Ray's Jobs API, because another program or another version of Ray may answer."""

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

MAX_RESPONSE_BYTES = 4 * 2**20
MAX_MESSAGE_CHARS = 4000  # the last ones, because the exception is at the end
Model = TypeVar("Model", bound=BaseModel)


class JobInfo(BaseModel):
    """The fields of Ray's job details that Assay uses."""

    model_config = ConfigDict(extra="ignore")

    status: str = Field(pattern="^[A-Z_]{1,40}$")
    message: str = ""
    metadata: dict[str, str] = Field({}, max_length=100)
    start_time: int = Field(0, ge=0, lt=10**14)
    driver_exit_code: int | None = None

    @field_validator("message", mode="before")
    @classmethod
    def _cut_message(cls, value: Any) -> Any:
        return value[-MAX_MESSAGE_CHARS:] if isinstance(value, str) else value or ""

    @field_validator("metadata", "start_time", mode="before")
    @classmethod
    def _replace_none(cls, value: Any, info: Any) -> Any:
        return ({} if info.field_name == "metadata" else 0) if value is None else value


class JobLog(BaseModel):
    """The whole log of one job."""

    model_config = ConfigDict(extra="ignore")

    logs: str


def parse_job_info(data: bytes) -> dict[str, Any]:
    """The job as a dict of `JobInfo`. Raises ValueError with one short line if `data` is no job."""
    return _parse(JobInfo, data).model_dump()


def parse_log(data: bytes) -> str:
    """The log in an answer. Raises ValueError with one short line if `data` has none."""
    return _parse(JobLog, data).logs


def _parse(model: type[Model], data: bytes) -> Model:
    try:
        return model.model_validate(json.loads(data))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))[:80]}: {first['msg'][:200]}") from None
    except RecursionError:
        raise ValueError("nested too deep") from None
    except ValueError as error:
        raise ValueError(f"no JSON: {str(error)[:200]}") from None
