"""Write the generated pages of docs/reference/.

    python -m dev.docs.reference            # write them
    python -m dev.docs.reference --check    # exit code 1, and the names of outdated pages

`make docs` runs it in the environment of the data plane before it builds the site. The pages are committed, so they can
be read and linked to without a build. tests/docs/test_reference_pages.py fails if a page is outdated.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from dev.docs import command_line, dag_pages, error_lines, metric_table, python_api, stored_files, suite_keys

REPO = Path(__file__).parents[2]
FOLDER = REPO / "docs" / "reference"


PAGES: dict[str, Callable[[], str]] = {
    "command-line.md": command_line.build_page,
    "suite.md": suite_keys.build_page,
    "dags.md": dag_pages.build_page,
    "errors.md": error_lines.build_page,
    "metrics.md": metric_table.build_page,
    "python-api.md": python_api.build_page,
    "storage.md": stored_files.build_page,
}


def find_stale_pages() -> dict[str, str]:
    """The text of each page that differs from its file, by the file's name."""
    texts = {name: page() for name, page in PAGES.items()}
    files = {name: FOLDER / name for name in texts}
    return {name: text for name, text in texts.items() if not files[name].exists() or files[name].read_text() != text}


def main(arguments: list[str]) -> int:
    stale = find_stale_pages()
    for name, text in stale.items():
        if arguments == ["--check"]:
            print(f"docs/reference/{name}: not current; run: make docs")
        else:
            (FOLDER / name).write_text(text)
            print(f"docs/reference/{name}: written")
    return 1 if stale and arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
