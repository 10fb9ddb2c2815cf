"""Tries the cases of the review and their variants on a tree, and prints a line for each.

    .assay/data/bin/python tests/cases/run.py                    # all of them, on this tree
    .assay/data/bin/python tests/cases/run.py 01a 20b            # some of them
    .assay/data/bin/python tests/cases/run.py --tree ../older    # on another tree

Every input is built by the script; the tree runs by its commands alone. Exits with 1 if a case is not right.
"""

import argparse
import os
import re
import sys
import tempfile
import time
from pathlib import Path

HERE, TESTS = Path(__file__).parent, Path(__file__).parents[1]
sys.path[:0] = [str(path) for path in (HERE, TESTS, TESTS / "ray_jobs", TESTS / "ray_jobs" / "judge", TESTS.parent)]

import case_runner  # noqa: E402
from case_runner import Case, CaseRunner  # noqa: E402
from checkpoints import CASES as CHECKPOINTS  # noqa: E402
from data_sets import CASES as DATA_SETS  # noqa: E402
from judges import CASES as JUDGES  # noqa: E402
from references import CASES as REFERENCES  # noqa: E402
from settings import CASES as SETTINGS  # noqa: E402
from variants import CASES as VARIANTS  # noqa: E402

CASES = [*REFERENCES, *DATA_SETS, *CHECKPOINTS, *JUDGES, *SETTINGS, *VARIANTS]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", help="the cases to try; all unless given")
    parser.add_argument("--tree", type=Path, default=case_runner.REPOSITORY, help="the tree that runs the cases")
    parser.add_argument("--out", type=Path, help="a Markdown file for the table")
    options = parser.parse_args()
    cases = [case for case in CASES if not options.names or case.name in options.names]
    table = ["| # | source | situation | before | now | right |", "| --- | --- | --- | --- | --- | --- |"]
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="cases-") as name:
        home = Path(name)
        with case_runner.open_runner(options.tree.resolve(), home) as runner:
            for case in cases:
                row, right = try_case(runner, case, home / case.name)
                wrong += not right
                table.append(row)
                if options.out:
                    options.out.write_text("\n".join(table) + "\n")
    print(f"\n{len(cases)} cases, {wrong} not as expected")
    return int(wrong > 0)


def try_case(runner: CaseRunner, case: Case, folder: Path) -> tuple[str, bool]:
    folder.mkdir()
    began = time.monotonic()
    try:
        line = case.build(runner, folder)
    except Exception as error:  # one case that breaks does not stop the others
        line = f"the script failed: {error!r}"
    right = re.search(case.right, line) is not None
    text = line.replace(str(folder), "…").replace(os.sep + "…", "…")[: case_runner.SHOWN_CHARACTERS]
    print(f"{case.name:5} {'right' if right else 'WRONG':6} {time.monotonic() - began:5.1f} s  {text}", flush=True)
    cells = (case.name, case.source, case.situation, case.before, f"`{text}`", "yes" if right else "NO")
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |", right


if __name__ == "__main__":
    sys.exit(main())
