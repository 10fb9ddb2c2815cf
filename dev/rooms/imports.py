"""Reads the Python files of a tree: which file imports which, how long each is, and whether it is a program."""

import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOTS = {"ray_jobs": "", "plugins": "plugins", "dags": ""}  # folder -> the entry of PYTHONPATH that it is imported from
NO_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
}  # fmt: skip


@dataclass(frozen=True)
class SourceFile:
    path: str  # relative to the root of the tree, with slashes
    lines: int
    code_lines: int  # without blank lines, comments and docstrings
    is_program: bool  # has `def main` or `if __name__`
    imports: tuple[str, ...]  # paths of the tree's own files, sorted; imports inside functions are among them


def read_files(root: Path) -> dict[str, SourceFile]:
    """Every Python file of ray_jobs/, plugins/ and dags/ below `root`, by its path."""
    texts = {
        str(file.relative_to(root)): file.read_text()
        for folder in ROOTS
        for file in sorted((root / folder).rglob("*.py"))
    }
    modules = {_module_name(path): path for path in texts}
    return {path: _read_file(path, text, modules) for path, text in texts.items()}


def is_program(tree: ast.Module) -> bool:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == "main":
            return True
        if isinstance(node, ast.If) and any(
            isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(node.test)
        ):
            return True
    return False


def _read_file(path: str, text: str, modules: dict[str, str]) -> SourceFile:
    tree = ast.parse(text, path)
    imported = {modules[name] for name in _find_modules(path, tree, modules)} - {path}
    return SourceFile(
        path, len(text.splitlines()), _count_code_lines(text, tree), is_program(tree), tuple(sorted(imported))
    )


def _find_modules(path: str, tree: ast.Module, modules: dict[str, str]) -> Iterator[str]:
    """Names of the tree's own modules. `from a import b` is the module `a.b` if there is one, else `a`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            package = _absolute_name(path, node)
            for alias in node.names:
                name = f"{package}.{alias.name}"
                if name in modules or package in modules:
                    yield name if name in modules else package


def _absolute_name(path: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = _module_name(path).split(".")
    if not path.endswith("/__init__.py"):
        package.pop()
    return ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])


def _module_name(path: str) -> str:
    below = Path(path).relative_to(ROOTS[path.split("/")[0]]).with_suffix("")
    return ".".join(below.parts[:-1] if below.name == "__init__" else below.parts)


def _count_code_lines(text: str, tree: ast.Module) -> int:
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            docstring = node.body[0]
            lines.difference_update(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    return len(lines)
