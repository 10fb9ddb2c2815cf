"""Command line of `python -m dev.wording`."""

import argparse
import ast
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dev.checkout import describe_tree, open_tree
from dev.wording import __doc__ as description
from dev.wording.names import (
    Place,
    list_functions,
    list_private_words,
    list_vague_locals,
    starts_with_participle,
)
from dev.wording.sentences import list_page_sentences, list_sentences
from dev.wording.tables import DEFENDED, DEFENDED_WORDS, FOLDERS, PRIVATE_WORDS


@dataclass
class Report:
    functions: list[Place] = field(default_factory=list)
    participles: list[Place] = field(default_factory=list)
    defended: list[Place] = field(default_factory=list)
    vague_locals: list[Place] = field(default_factory=list)
    private_words: list[Place] = field(default_factory=list)
    defended_words: list[Place] = field(default_factory=list)
    sentences: list[Place] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--at", metavar="COMMIT", help="read this commit instead of the working tree")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--list", action="store_true", help="print each place as path:line")
    arguments = parser.parse_args()
    title = describe_tree(arguments.at)
    with open_tree(arguments.at) as root:
        report = read_report(root)
    if arguments.json:
        print(json.dumps({"tree": title, **vars(report)}, indent=1))
    else:
        print("\n".join(as_text(report, title, arguments.list)))


def read_report(root: Path) -> Report:
    report = Report()
    for file in (file for folder in FOLDERS for file in sorted((root / folder).rglob("*.py"))):
        path, text = str(file.relative_to(root)), file.read_text()
        tree = ast.parse(text, path)
        functions = [] if _is_test(path) else list(list_functions(tree, path))
        report.functions += functions
        for place in functions:
            if starts_with_participle(place.word):
                (report.defended if place.word in DEFENDED else report.participles).append(place)
        report.vague_locals += list_vague_locals(tree, path)
        for place in [] if _is_test(path) else list_private_words(tree, path):
            (report.defended_words if (path, place.word) in DEFENDED_WORDS else report.private_words).append(place)
        report.sentences += list_sentences(tree, text, path)
    for file in sorted([*root.glob("*.md"), *(root / "docs").rglob("*.md")]):
        page = str(file.relative_to(root / "docs" if file.parent != root else root))
        report.sentences += list_page_sentences(file.read_text(), f"docs/{page}")
    return report


def as_text(report: Report, title: str, all_places: bool) -> Iterator[str]:
    names = Counter(place.word for place in report.participles)
    yield title
    yield from _table(f"functions named by a participle, of {len(report.functions):,}", report.participles, all_places)
    yield "  " + ", ".join(f"{name} {count}" if count > 1 else name for name, count in sorted(names.items()))
    yield from (f"  defended: {place.word} ({place.path}): {DEFENDED[place.word]}" for place in report.defended)
    yield from _table("vague local names, each use", report.vague_locals, all_places)
    yield from _table("definitions that bear a private word of the glossary", report.private_words, all_places)
    words = Counter(place.word for place in report.private_words)
    new = {word: better for (_, word), better in PRIVATE_WORDS.items()}
    yield "  " + ", ".join(f"{word} {count} ({new[word]})" for word, count in sorted(words.items()))
    yield from (
        f"  defended: {place.word} ({place.path}): {DEFENDED_WORDS[place.path, place.word]}"
        for place in report.defended_words
    )
    yield from _table("sentences of docstrings, comments and pages", report.sentences, all_places)


def _table(heading: str, places: Sequence[Place], all_places: bool) -> Iterator[str]:
    """The total, a row for each word if there are few of them, and columns for the folders."""
    yield f"\n{len(places):,} {heading}"
    folders = [folder for folder in (*FOLDERS, "docs") if any(place.path.startswith(f"{folder}/") for place in places)]
    words = Counter(place.word for place in places)
    rows: list[tuple[str, list[Place]]] = [("all", list(places))]
    if len(words) <= 12:
        rows += [(word, [place for place in places if place.word == word]) for word, _ in words.most_common()]
    yield f"  {'':<34}" + "".join(f"{folder:>12}" for folder in folders)
    for word, word_places in rows:
        counts = Counter(place.path.split("/")[0] for place in word_places)
        yield f"  {word:<34}" + "".join(f"{counts[folder]:>12,}" for folder in folders)
    if all_places:
        yield from (f"  {place.path}:{place.line}: {place.word}" for place in places)


def _is_test(path: str) -> bool:
    return path.startswith("tests/")


if __name__ == "__main__":
    main()
