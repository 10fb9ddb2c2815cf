"""Builds the page docs/reference/suite.md: every key of a suite with its type, default and meaning, from the models.

`dev.docs.reference` calls it. A key's meaning is the text below the field in the model.
"""

import ast
import inspect
import textwrap
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ray_jobs.contract.suite import Suite

BOUNDS = {"gt": "above {}", "ge": "at least {}", "lt": "below {}", "le": "at most {}"}
PLAIN = {str: "text", int: "whole number", float: "number", bool: "true or false"}
INTRODUCTION = """# Suite keys

A suite is one YAML file in `dags/suites/` (`ASSAY_SUITES`). This page lists every key. A key that is not listed is
refused, and the error names the nearest one. A setting without effect is refused too. To see what a suite would do,
[check it](../how-to/check-a-suite.md) before its first run.

`name` and `dataset.source` are required. Every other key has a default.

`make docs` writes this page from the models of a suite."""


def read_field_texts(model: type) -> dict[str, str]:
    """The text below each field of a model, by the field's name. A field may lack one."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body  # decorators are part of it
    assert isinstance(tree, ast.ClassDef)
    texts = {}
    for field, after in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(after, ast.Expr):
            texts[field.target.id] = inspect.cleandoc(ast.literal_eval(after.value)).replace("\n", " ")
    return texts


def walk_sections(path: str = "", model: type[BaseModel] = Suite) -> Iterator[tuple[str, type[BaseModel]]]:
    """Each section with the path of its keys, `judge.price` or `gate.metrics.NAME`: a section, then those inside it.

    The judge's `engine` has the keys of the section `engine` and is not repeated.
    """
    yield path, model
    for name, field in model.model_fields.items():
        inner, is_mapping = _find_model(field.annotation)
        if inner and not (path and inner in (field.annotation for field in Suite.model_fields.values())):
            yield from walk_sections(f"{path}.{name}{'.NAME' if is_mapping else ''}".lstrip("."), inner)


def describe_type(annotation: Any) -> str:
    """A type in words: `text`, `whole number`, `fast or lanczos`, `list of texts`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in PLAIN:
        return PLAIN[annotation]
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(describe_type(part) for part in arguments if part is not type(None))
    if origin is tuple:
        return f"list of {describe_type(arguments[0])}s"
    if origin is dict:
        return "mapping" if arguments[1] is Any else f"mapping of names to {describe_type(arguments[1])}s"
    if hasattr(annotation, "__metadata__"):
        return describe_type(arguments[0])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return "any value"


def _find_model(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    if get_origin(annotation) is dict and isinstance(get_args(annotation)[1], type):
        inner = get_args(annotation)[1]
        return (inner, True) if issubclass(inner, BaseModel) else (None, False)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    return None, False


def _describe_bounds(field: FieldInfo) -> str:
    rules = [(rule, name) for rule in field.metadata for name in BOUNDS if hasattr(rule, name)]
    return ", ".join(BOUNDS[name].format(f"{getattr(rule, name):,}") for rule, name in rules)


def _format_default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    if isinstance(field.default, BaseModel) or field.default in (None, (), {}):
        return ""
    value = field.default
    text = {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)
    return f"`{text}`".replace("\n", " / ").replace("|", "\\|")


def build_page() -> str:
    """The text of docs/reference/suite.md."""
    lines = [INTRODUCTION]
    for name, model in walk_sections():
        lines += ["", f"## {f'`{name}`' if name else 'The file'}", "", inspect.getdoc(model) or "", ""]
        lines += ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
        texts = read_field_texts(model)
        for key, field in model.model_fields.items():
            kind = "; ".join(part for part in (describe_type(field.annotation), _describe_bounds(field)) if part)
            lines.append(f"| `{key}` | {kind} | {_format_default(field)} | {texts[key]} |")
    return "\n".join(lines) + "\n"
