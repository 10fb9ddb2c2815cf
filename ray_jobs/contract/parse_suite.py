"""Parse the YAML of a suite. If the suite has a fault, raise InputError with one line.

`planning.suites` calls this for `plan`, `suite check` and the control plane's tasks. A spec reads its stored suite
with the model alone. So an old spec stays readable, even if a newer version of this file refuses its suite.
"""

import re
from typing import Any, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from ray_jobs.contract.prompt_tokens import find_token_fault, texts_for_judge, texts_for_model
from ray_jobs.contract.sections.judge import Judge
from ray_jobs.contract.suite import Suite
from ray_jobs.contract.unused_settings import find_unused
from ray_jobs.inputs import strict_yaml
from ray_jobs.inputs.errors import InputError, suggest
from ray_jobs.inputs.names import find_name_fault, printable

FAULT_CHARACTERS = 500
KEY_VARIABLE = r"ASSAY_JUDGE_[A-Z0-9_]*KEY"


def parse_suite(text: str | bytes, where: str) -> Suite:
    """Returns the suite from a YAML text. `where` names the suite in errors. Raises InputError with the first fault."""
    what = f"suite {printable(where)}"
    raw = strict_yaml.parse(text, what)
    if not isinstance(raw, dict):
        raise InputError(f"{what}: must be a mapping with the keys {', '.join(Suite.model_fields)}")
    suite = _validate(raw, what)
    if fault := find_name_fault(suite.name):  # not in the model, because the model also reads stored suites
        raise InputError(f"{what}: name: {suite.name[:60]!r} {fault}; give it a shorter name")
    _check_judge(suite.judge, what)
    if fault := find_token_fault(texts_for_model(suite) | texts_for_judge(suite)) or find_unused(suite):
        raise InputError(f"{what}: {fault}")
    return suite


def with_fields(suite: Suite, schema: dict[str, Any], where: str) -> Suite:
    """Returns the suite with the schema itself instead of the name of its file. Raises InputError."""
    raw = suite.model_dump()
    raw["caption"]["fields"] = schema
    return _validate(raw, f"suite {printable(where)}")


def _validate(raw: dict[str, Any], what: str) -> Suite:
    try:
        return Suite.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{what}: {printable(_describe_first_fault(error), FAULT_CHARACTERS)}") from None


def _check_judge(judge: Judge, what: str) -> None:
    """Raise InputError for an endpoint or a variable that a suite must not name.

    The model does not check them, so that specs of earlier suites stay readable.
    """
    if not re.fullmatch(KEY_VARIABLE, judge.key_variable):
        raise InputError(
            f"{what}: judge.key_variable: {printable(judge.key_variable, 60)!r} may be another secret; name the "
            "variable ASSAY_JUDGE_KEY, or ASSAY_JUDGE_ and more that ends with KEY"
        )
    if judge.base_url is not None and (fault := find_address_fault(judge.base_url)):
        raise InputError(f"{what}: judge.base_url: {fault}")


def find_address_fault(url: str) -> str | None:
    """Returns the fault of an endpoint's address, with the remedy, or None. The text never repeats a secret."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "not a URL; write http:// or https://, a host, and perhaps a port and a path"
    if not url.isascii() or not url.isprintable() or any(letter in " \\" for letter in url):
        return "has characters that no URL has; correct it"
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        return "must be http:// or https:// and a host; correct it"
    if "@" in parts.netloc:
        return "holds a user or a password; put the key into the variable that `key_variable` names"
    if "?" in url or "#" in url:
        return "has a query or a fragment; leave it out, the key goes into the variable that `key_variable` names"
    return None


def _describe_first_fault(error: ValidationError) -> str:
    """Returns the first fault of a suite in one line. An unknown key comes with the nearest right name."""
    faults = error.errors(include_url=False)
    # An unknown key goes first, because a typo hides the right key.
    fault = next((candidate for candidate in faults if candidate["type"] == "extra_forbidden"), faults[0])
    path = [str(step) for step in fault["loc"]]
    where = ".".join(path)
    if fault["type"] == "extra_forbidden":
        model = _find_model(path[:-1])
        return f"unknown key {where!r}{suggest(path[-1], list(model.model_fields)) if model else ''}"
    if fault["type"] == "missing":
        return f"{where} is missing"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "string_type" and isinstance(fault["input"], bool | int | float):
        message += ", put it in quotes"
    return f"{where}: {message}" if where else message


def _find_model(path: list[str]) -> type[BaseModel] | None:
    """Returns the model of the section at a path of keys; None if the path leads to no section."""
    model: type[BaseModel] = Suite
    steps = iter(path)
    for step in steps:
        if step not in model.model_fields:
            return None
        annotation = model.model_fields[step].annotation
        if get_origin(annotation) is dict:  # sections by the name of a metric: the next step of the path is that name
            annotation = get_args(annotation)[1]
            next(steps, None)
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return None
        model = annotation
    return model
