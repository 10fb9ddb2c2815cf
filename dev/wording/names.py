"""Reads the identifiers of one file: functions named by a participle, vague locals, private words."""

import ast
from collections.abc import Iterator
from typing import NamedTuple

from dev.wording.tables import IRREGULAR_PARTICIPLES, NO_PARTICIPLES, PRIVATE_WORDS, VAGUE_LOCALS

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Place(NamedTuple):
    path: str
    line: int
    word: str


def list_functions(tree: ast.Module, path: str) -> Iterator[Place]:
    """Every function and method that the file defines, nested ones too; not those that Python names (`__init__`)."""
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS) and not node.name.startswith("__"):
            yield Place(path, node.lineno, node.name)


def starts_with_participle(name: str) -> bool:
    """Whether the first word of a name is a participle, as in `_gathered` and `making_room`."""
    word = name.strip("_").split("_")[0]
    return word in IRREGULAR_PARTICIPLES or (word.endswith(("ed", "ing")) and word not in NO_PARTICIPLES)


def list_vague_locals(tree: ast.Module, path: str) -> Iterator[Place]:
    """Each place that uses or sets one of VAGUE_LOCALS as a variable or a parameter, not as a field of a class."""
    fields = {id(name) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for name in _names_set_in(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in VAGUE_LOCALS and id(node) not in fields:
            yield Place(path, node.lineno, node.id)
        elif isinstance(node, ast.arg) and node.arg in VAGUE_LOCALS:
            yield Place(path, node.lineno, node.arg)


def list_private_words(tree: ast.Module, path: str) -> Iterator[Place]:
    """Each definition that bears a private word: the file itself, a class, a function, a field, a constant."""
    for line, name in _definitions(tree, path):
        if any(word == name and _is_below(path, folder) for folder, word in PRIVATE_WORDS):
            yield Place(path, line, name)


def _definitions(tree: ast.Module, path: str) -> Iterator[tuple[int, str]]:
    yield 1, path.split("/")[-1].removesuffix(".py")
    for node in ast.walk(tree):
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            yield node.lineno, node.name
        if isinstance(node, ast.Module | ast.ClassDef):
            yield from ((name.lineno, name.id) for name in _names_set_in(node))
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def _names_set_in(node: ast.Module | ast.ClassDef) -> Iterator[ast.Name]:
    """The names that the statements of a module or a class set, outside its functions."""
    for statement in node.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        for target in targets:
            names = ast.walk(target) if target else ()
            yield from (name for name in names if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store))


def _is_below(path: str, folder: str) -> bool:
    return not folder or path.startswith(f"{folder}/")
