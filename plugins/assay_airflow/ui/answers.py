"""Turns values into JSON answers, and errors into answers with one clear line.

An InputError is a fault that a person must mend (422), a RetryableError may be over soon (503). Any other error is
logged with its traceback, and the answer names none of it.
"""

import json
import logging
import math
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response

from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.inputs.names import printable

LINE = 1000  # characters of an error line
RETRY_AFTER = {"Retry-After": "5"}

log = logging.getLogger("assay.pages")


def json_answer(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Returns the content as JSON. A number that JSON does not have becomes null."""
    try:
        text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_without_odd_numbers(content), allow_nan=False, separators=(",", ":"))
    return Response(text, status, headers, media_type="application/json")


def error_answer(status: int, line: str, headers: dict[str, str] | None = None) -> Response:
    return json_answer({"detail": printable(line, LINE)}, status, headers)


def add_error_lines(app: FastAPI) -> None:
    """Answer each error of the application's routes with `{"detail": line}`."""
    app.add_exception_handler(InputError, lambda _, error: error_answer(422, str(error)))
    app.add_exception_handler(RetryableError, lambda _, error: error_answer(503, str(error), RETRY_AFTER))
    app.add_exception_handler(RequestValidationError, _explain_parameter)
    app.middleware("http")(_explain_any_error)


def _explain_parameter(_: Request, error: Any) -> Response:
    first = error.errors()[0]
    return error_answer(422, f"{'.'.join(map(str, first['loc'][1:]))}: {first['msg']}")


async def _explain_any_error(request: Request, call_next: Any) -> Any:
    try:
        return await call_next(request)
    except Exception:
        log.exception("%s failed", request.url.path)
        return error_answer(500, "the page's server failed; the log of Airflow's API server has the reason")


def refuse(status: int, line: str, headers: dict[str, str] | None = None) -> HTTPException:
    """Returns an error for the caller to raise, with its line cut and made printable."""
    return HTTPException(status, printable(line, LINE), headers)


def _without_odd_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_odd_numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_odd_numbers(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
