"""Finds the sentences that the style guide forbids: in docstrings, in comments, and in pages of documentation."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator

from dev.wording.names import Place
from dev.wording.tables import SENTENCE_PATTERNS

CODE_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def list_sentences(tree: ast.Module, text: str, path: str) -> Iterator[Place]:
    """The name of each pattern that matches, with the line of the match."""
    for line, prose in [*_docstrings(tree), *_comments(text)]:
        yield from _match_patterns(prose, line, path)


def list_page_sentences(text: str, path: str) -> Iterator[Place]:
    """The same of a page in Markdown. Its blocks of code are left out."""
    prose = CODE_BLOCK.sub(lambda block: "\n" * block.group().count("\n"), text)
    yield from _match_patterns(prose, 1, path)


def _match_patterns(prose: str, line: int, path: str) -> Iterator[Place]:
    for name, pattern in SENTENCE_PATTERNS.items():
        for match in pattern.finditer(prose):
            yield Place(path, line + prose.count("\n", 0, match.start()), name)


def _docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and (prose := ast.get_docstring(node, clean=False)):
            yield node.body[0].lineno, prose


def _comments(text: str) -> Iterator[tuple[int, str]]:
    """The comments of a file; those on consecutive lines are one text, because a sentence may go on."""
    block: list[str] = []
    start = last = -1
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT:
            continue
        line = token.start[0]
        if line != last + 1 and block:
            yield start, "\n".join(block)
            block = []
        if not block:
            start = line
        block.append(token.string.lstrip("# "))
        last = line
    if block:
        yield start, "\n".join(block)
