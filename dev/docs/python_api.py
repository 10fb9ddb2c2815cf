"""Builds the page docs/reference/python-api.md from the signatures and docstrings of `ray_jobs.api`.

`dev.docs.reference` calls it.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel

from dev.docs.stored_files import MODELS, anchor
from ray_jobs import api

INTRODUCTION = """# Python API

The scripts are in [examples](../../examples/README.md).

`make docs` writes this page from the docstrings of `ray_jobs.api`."""


def build_page() -> str:
    """The text of docs/reference/python-api.md."""
    head, _, rest = INTRODUCTION.partition("\n\n")
    lines = [head, "", inspect.getdoc(api) or "", "", rest, "", "## Functions"]
    members = {name: getattr(api, name) for name in api.__all__}
    for name, member in members.items():
        if inspect.isfunction(member):
            lines += [
                "",
                f"### `{name}`",
                "",
                "```text",
                signature(name, member),
                "```",
                "",
                inspect.getdoc(member) or "",
            ]
    lines += ["", "## Classes"]
    for name, member in members.items():
        if inspect.isclass(member):
            lines += ["", f"### `{name}`", "", *_describe(member)]
    return "\n".join(lines) + "\n"


def signature(name: str, function: Callable[..., Any]) -> str:
    """The call with its types, without module names. A long call has one argument per line."""
    text = f"{name}{inspect.signature(function)}".replace("'", "")
    text = re.sub(r"[A-Za-z_]+\.(?=[A-Za-z_])", "", text)
    return text if len(text) <= 90 else re.sub(r"\((.*)\) ->", lambda m: "(\n    " + m[1] + "\n) ->", text)


def _describe(member: type) -> Iterator[str]:
    yield inspect.cleandoc(vars(member).get("__doc__") or "").replace("<", "&lt;")
    if member in MODELS:
        yield ""
        yield f"Its keys: [{member.__name__}](storage.md#{anchor(member.__name__)})."
    elif is_dataclass(member):
        yield ""
        yield "Fields: " + ", ".join(f"`{field.name}`" for field in fields(member)) + "."
    elif issubclass(member, BaseModel):
        yield ""
        yield "Fields: " + ", ".join(f"`{name}`" for name in member.model_fields) + "."
