"""Parse the YAML of a suite, and refuse what a suite must not say in one line.

A suite that was stored in a spec is read by its model alone, so what is refused here stays readable there.
"""

import re
from typing import Any, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from ray_jobs.contract.prompt_tokens import find_fault as find_token_fault
from ray_jobs.contract.prompt_tokens import texts_for_judge, texts_for_model
from ray_jobs.contract.sections.judge import Judge
from ray_jobs.contract.suite import Suite
from ray_jobs.contract.unused_settings import find_unused
from ray_jobs.inputs import strict_yaml
from ray_jobs.inputs.errors import InputError, nearest
from ray_jobs.inputs.names import find_fault, printable

FAULT_CHARACTERS = 500


KEY_VARIABLE = r"ASSAY_JUDGE_[A-Z0-9_]*KEY"


def parse_suite(text: str | bytes, where: str) -> Suite:
    """The suite in a YAML text; `where` names it in errors. Raises InputError with one line per text, the first
    fault."""
    what = f"suite {printable(where)}"
    raw = strict_yaml.parse(text, what)
    if not isinstance(raw, dict):
        raise InputError(f"{what}: must be a mapping with the keys {', '.join(Suite.model_fields)}")
    suite = _validate(raw, what)
    if fault := find_fault(suite.name):  # checked here and not in the model, which also reads what was stored earlier
        raise InputError(f"{what}: name: {suite.name[:60]!r} {fault}; give it a shorter name")
    _check_judge(suite.judge, what)
    if fault := find_token_fault(texts_for_model(suite) | texts_for_judge(suite)) or find_unused(suite):
        raise InputError(f"{what}: {fault}")
    return suite


def with_fields(suite: Suite, schema: dict[str, Any], where: str) -> Suite:
    """The suite with a complete schema in the place of the file that holds it. Raises InputError, as `parse_suite`."""
    raw = suite.model_dump()
    raw["caption"]["fields"] = schema
    return _validate(raw, f"suite {printable(where)}")


def _validate(raw: dict[str, Any], what: str) -> Suite:
    try:
        return Suite.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{what}: {printable(_first_fault(error), FAULT_CHARACTERS)}") from None


def _check_judge(judge: Judge, what: str) -> None:
    """Raise InputError for an endpoint or variable that a suite must not name; specs of earlier suites stay
    readable."""
    if not re.fullmatch(KEY_VARIABLE, judge.key_variable):
        raise InputError(
            f"{what}: judge.key_variable: {printable(judge.key_variable, 60)!r} may be another secret; name the "
            "variable ASSAY_JUDGE_KEY, or ASSAY_JUDGE_ and more that ends with KEY"
        )
    if judge.base_url is not None and (fault := fault_of_address(judge.base_url)):
        raise InputError(f"{what}: judge.base_url: {fault}")


def fault_of_address(url: str) -> str | None:
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


def _first_fault(error: ValidationError) -> str:
    """Returns the first fault of a suite in one line. An unknown key comes with the nearest right name."""
    faults = error.errors(include_url=False)
    # An unknown key goes first, because a typo hides the right key.
    fault = next((candidate for candidate in faults if candidate["type"] == "extra_forbidden"), faults[0])
    path = [str(step) for step in fault["loc"]]
    where = ".".join(path)
    if fault["type"] == "extra_forbidden":
        model = _model_at(path[:-1])
        return f"unknown key {where!r}{nearest(path[-1], list(model.model_fields)) if model else ''}"
    if fault["type"] == "missing":
        return f"{where} is missing"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "string_type" and isinstance(fault["input"], bool | int | float):
        message += ", put it in quotes"
    return f"{where}: {message}" if where else message


def _model_at(path: list[str]) -> type[BaseModel] | None:
    """The model of the settings at a path of keys; None where there is none."""
    model: type[BaseModel] = Suite
    steps = iter(path)
    for step in steps:
        if step not in model.model_fields:
            return None
        annotation = model.model_fields[step].annotation
        if get_origin(annotation) is dict:  # of sections by the name of a metric
            annotation = get_args(annotation)[1]
            next(steps, None)
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return None
        model = annotation
    return model
