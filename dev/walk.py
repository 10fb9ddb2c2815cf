"""Counts the files and hops by which a reader follows one thing through the code, and checks the list against the code.

    python -m dev.walk dev/walks/uri.txt
    python -m dev.walk dev/walks/a52cdb4/uri.txt --at a52cdb4

A person makes a list by reading. It has one step per line: how the thing comes there, a file, a function or a class,
and the names of the variables, parameters or fields that hold it there, or an object with it (`-` if there is none):

    > ray_jobs/checkpoint.py resolve uri        called by a function above, which names this one
    ~ ray_jobs/job.py run spec                  comes in another way: as a result, by a file, a process or a closure
    > ray_jobs/engine/asked.py request image,pixels

The script stops at the first wrong line: a file or function that does not exist, a name that the function does not
use, or a `>` whose function no step above names. A `#` begins a comment.
"""

import argparse
import ast
from dataclasses import dataclass
from pathlib import Path

from dev.checkout import describe_tree, open_tree

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Step:
    is_call: bool
    path: str
    function: str  # `Class.method`, `outer.inner`, or a class by itself
    names: tuple[str, ...]

    @property
    def word_of_callers(self) -> str:
        """The word that a caller writes; for a constructor it is the class."""
        return self.function.removesuffix(".__init__").split(".")[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("lists", nargs="+", type=Path, help="lists of steps")
    parser.add_argument("--at", metavar="COMMIT", help="check the lists against this commit, not the working tree")
    arguments = parser.parse_args()
    print(describe_tree(arguments.at))
    with open_tree(arguments.at) as root:
        for file in arguments.lists:
            steps = read_steps(file.read_text())
            if fault := find_fault(steps, root):
                raise SystemExit(f"{file}: {fault}")
            print(f"{file}: {format_counts(steps)}")


def read_steps(text: str) -> list[Step]:
    lines = [line.partition("#")[0].split() for line in text.splitlines()]
    return [
        Step(mark == ">", path, function, () if names == "-" else tuple(names.split(",")))
        for mark, path, function, names in filter(None, lines)
    ]


def format_counts(steps: list[Step]) -> str:
    """Files to open, hops from one function to the next, and the names, in the order in which they come."""
    files, names = {step.path for step in steps}, dict.fromkeys(name for step in steps for name in step.names)
    return f"{len(files)} files, {len(steps) - 1} hops, {len(names)} names ({', '.join(names)})"


def find_fault(steps: list[Step], root: Path) -> str | None:
    """A line about the first step that does not fit the code below `root`; None if all fit."""
    words_above: set[str] = set()
    for step in steps:
        where = f"{step.path} {step.function}"
        if not (root / step.path).is_file():
            return f"{where}: no such file"
        node = _find_definition(ast.parse((root / step.path).read_text()), step.function.split("."))
        if node is None:
            return f"{where}: no such function or class"
        words = _list_words(node)
        if unused := set(step.names) - words:
            return f"{where}: does not use the name {', '.join(sorted(unused))}"
        if step.is_call and step.word_of_callers not in words_above:
            return f"{where}: no step above names it"
        words_above |= words
    return None


def _find_definition(tree: ast.AST, names: list[str]) -> ast.AST | None:
    for name in names:
        inside = (node for node in ast.walk(tree) if isinstance(node, DEFINITIONS) and node.name == name)
        tree = next(inside, None)  # type: ignore[assignment]
        if tree is None:
            return None
    return tree


def _list_words(definition: ast.AST) -> set[str]:
    """Every identifier that a function or class uses, and its short texts: keys of dictionaries, names of methods."""
    words: set[str] = set()
    for node in ast.walk(definition):
        if isinstance(node, ast.Name):
            words.add(node.id)
        elif isinstance(node, ast.Attribute):
            words.add(node.attr)
        elif isinstance(node, ast.arg | ast.keyword) and node.arg:
            words.add(node.arg)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            words.add(node.value)
    return words


if __name__ == "__main__":
    main()
