"""Builds the page docs/reference/errors.md: every line that a job can end with, collected from the source.

`dev.docs.reference` calls it. It reads the code and runs none of it. `…` stands for the parts of a line that change, so
a reader finds a line by the words around them, and a renamed variable does not change the page.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.docs.message_forms import GAP, Module, read_constants
from dev.docs.suite_keys import walk_sections
from ray_jobs.contract.field_schema import SchemaError
from ray_jobs.contract.unused_settings import find_unused
from ray_jobs.images.reject_reasons import ImageRejected
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.sources.cells.texts import CellFault

REPO = Path(__file__).parents[2]
FOLDERS = ("ray_jobs", "plugins")
THINGS = {  # the word that a line begins with -> the section it is under
    "adapter": "An adapter",
    "audit": "An audit",
    "caption": "Captions",
    "captions": "Captions",
    "checkpoint": "A checkpoint",
    "clip": "A CLIP model",
    "dataset": "A data set",
    "engine": "An engine",
    "gate": "The gate",
    "judge": "The judge",
    "metric": "A metric",
    "metrics": "A metric",
    "ray": "Ray",
    "root": "The root",
    "run": "A run",
    "suite": "A suite",
    "this": "This machine or job",
}
OTHER = "A file, a URI or a variable"
REJECT = "An image that is rejected"  # the column `detail` of rejects.parquet has these lines; the job continues
INTRODUCTION = """# Error lines

A job or a task that fails ends with one line: the thing, the fault, and after the last semicolon the remedy. This page
lists every such line of Assay's own code by the word that it begins with. `…` stands for what only a run knows: a name,
a number, or the message of a library. To find a line, search this page for a few of its words.

A rejected image does not end a job: its line is in `rejects.parquet`, and the last section lists these lines.

A line that is marked *retried* can pass by itself, and Airflow tries the job again. Every other line needs a person: a
retry would end in the same way.

| | exit code of a job | in Airflow |
| --- | --- | --- |
| retried | 1 | the task is tried again, for 2 h 36 min (`ASSAY_RETRY_MINUTES`) |
| not retried | 2 | the task fails at once |

`make docs` collects the lines from the source (`dev/docs/error_lines.py`)."""


@dataclass(frozen=True, order=True)
class ErrorLine:
    """One form of a message, and whether trying again can help."""

    text: str
    is_retried: bool
    about: str = ""  # the section, if the first word does not tell it

    @property
    def remedy(self) -> str:
        """The text after the last semicolon; empty if the line has no remedy."""
        return self.text.rpartition("; ")[2] if "; " in self.text else ""

    @property
    def section(self) -> str:
        first = re.match(r"[A-Za-z]+", self.text)
        return self.about or (THINGS.get(first[0].lower(), OTHER) if first else OTHER)


def find_failure_classes(trees: list[ast.Module]) -> dict[str, bool]:
    """Whether each class of failures is retried, by class name: the two kinds, and the classes derived from them."""
    is_retried = {InputError.__name__: False, RetryableError.__name__: True}
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    for _ in range(2):  # a class of a class
        for node in classes:
            for base in node.bases:
                if isinstance(base, ast.Name) and base.id in is_retried:
                    is_retried[node.name] = is_retried[base.id]
    return is_retried


def collect_error_lines() -> set[ErrorLine]:
    """Every form of every message with which our own code ends a job or a task."""
    files = sorted(file for folder in FOLDERS for file in (REPO / folder).rglob("*.py"))
    trees = [ast.parse(file.read_text()) for file in files]
    classes = find_failure_classes(trees)
    constants: dict[str, str] = {}
    for tree in trees:
        constants |= read_constants(tree)
    return {line for tree in trees for line in _collect_lines(tree, classes, constants)}


def collect_suite_lines() -> set[ErrorLine]:
    """The faults that the models of a suite and the schema of its fields refuse. The lines begin with `suite …:`."""
    constants: dict[str, str] = {}
    forms: set[ErrorLine] = set()
    bases = {base for _, section in walk_sections() for base in section.__mro__}
    sources: list[Any] = [base for base in bases if base.__module__.startswith("ray_jobs.")]
    for file in sorted({inspect.getfile(source) for source in (*sources, SchemaError, find_unused)}):
        tree = ast.parse(Path(file).read_text())
        lines = _collect_lines(tree, {ValueError.__name__: False, SchemaError.__name__: False}, constants)
        forms |= {ErrorLine(f"suite {GAP}: {line.text}", False) for line in lines}
        module = Module(tree, constants)
        for scope in module.functions.values():
            for node in ast.walk(scope):
                if file == inspect.getfile(find_unused) and isinstance(node, ast.Yield) and node.value:
                    texts = (_tidy(text) for text in module.list_texts(node.value, scope))
                    forms |= {ErrorLine(f"suite {GAP}: {text}", False) for text in texts if "; " in text}
    return forms


def collect_reject_lines() -> set[ErrorLine]:
    """The reasons why an image is not in the golden set: faults of its row's cells, and of its file."""
    files = sorted((REPO / "ray_jobs").rglob("*.py"))
    lines: set[ErrorLine] = set()
    for file in files:
        tree = ast.parse(file.read_text())
        for line in _collect_lines(tree, {CellFault.__name__: False}, {}):
            lines.add(ErrorLine(f"{GAP}: {line.text}", False, REJECT))
        for line in _collect_lines(tree, {ImageRejected.__name__: False}, {}, argument=1, words=2):
            lines.add(ErrorLine(line.text, False, REJECT))
    return lines


def _collect_lines(
    tree: ast.Module, classes: dict[str, bool], constants: dict[str, str], argument: int = 0, words: int = 3
) -> Iterator[ErrorLine]:
    """The forms of one argument of each exception in the module. Texts of fewer words are no messages."""
    module = Module(tree, constants)
    scopes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    for scope in [*scopes, tree]:
        for node in ast.walk(scope):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in classes:
                for text in [
                    form for value in node.args[argument : argument + 1] for form in module.list_texts(value, scope)
                ]:
                    tidy_text = _tidy(text)
                    if len(re.findall("[a-z]{3,}", tidy_text)) >= words and not re.search("; ?[;,]|;$", tidy_text):
                        yield ErrorLine(tidy_text, classes[node.func.id])


def _tidy(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"…(?:\.\.\.)?…*", GAP, text)).strip()


def build_page() -> str:
    """The text of docs/reference/errors.md."""
    by_section: dict[str, list[ErrorLine]] = {}
    for line in sorted(collect_error_lines() | collect_suite_lines() | collect_reject_lines()):
        by_section.setdefault(line.section, []).append(line)
    text = [INTRODUCTION]
    for section in sorted(by_section, key=lambda section: (section in (OTHER, REJECT), section == REJECT, section)):
        text += [f"\n## {section}\n", "| the line | remedy | again |", "| --- | --- | --- |"]
        text += [_format_row(line) for line in by_section[section]]
    return "\n".join(text) + "\n"


def _format_row(line: ErrorLine) -> str:
    fault = line.text.removesuffix(f"; {line.remedy}") if line.remedy else line.text
    return f"| {_escape_cell(fault)} | {_escape_cell(line.remedy)} | {'retried' if line.is_retried else ''} |"


def _escape_cell(text: str) -> str:
    """The text with every mark of Markdown and HTML escaped, for a table."""
    return re.sub(r"([\\`*_{}\[\]<>#|$~])", r"\\\1", text)
