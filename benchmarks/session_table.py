"""Writes the Markdown page of `benchmarks.gpu_session` from the logs and rows of its steps."""

import time
from pathlib import Path

from benchmarks.session_runs import read_rows
from benchmarks.session_steps import Step

SHOWN = (" are chosen: ", "engine: compile cache ")  # in lines of an engine's or a job's log that the page shows


def write_table(results: Path, steps: list[Step]) -> None:
    """Write `table.md`: each step's tables, those of steps that are not over too, and the last lines of the failed.

    The page is replaced as a whole, so a kill leaves the one before.
    """
    rows = read_rows(results)
    lines = [
        f"# GPU session, {time.strftime('%F %T')}",
        "",
        "| step | what it answers | outcome | s |",
        "| --- " * 4 + "|",
    ]
    for step in steps:
        log = results / f"{step.name}.log"
        row = rows.get(step.name, {"outcome": "began" if log.exists() else "not run", "seconds": ""})
        lines.append(f"| {step.name} | {step.answers} | {row['outcome']} | {row['seconds']} |")
    for step in steps:
        measured_lines = list_measured_lines(results / f"{step.name}.log")
        tail = rows.get(step.name, {}).get("tail", [])
        if measured_lines or tail:
            lines += ["", f"## {step.name}: {step.answers}", "", *measured_lines]
        if tail:
            lines += ["", f"{rows[step.name]['outcome']}; its last lines:", "", "```", *tail, "```"]
    partial = results / ".table.md"
    partial.write_text("\n".join(lines) + "\n")
    partial.replace(results / "table.md")


def list_measured_lines(log: Path) -> list[str]:
    """What a step printed of tables and JSON, with an empty line before each table, then ratios and choices."""
    if not log.exists():
        return []
    measured: list[str] = []
    notes: list[str] = []
    for line in log.read_text(errors="replace").splitlines():
        if line.startswith("| --- ") and measured[:-1]:
            measured.insert(-1, "")  # another table begins with the line before
        if line.startswith(("| ", '{"')):
            measured.append(line)
        elif any(words in line for words in SHOWN):
            notes.append(f"- {line.partition('engine: ')[2]}")
        elif line.startswith("- "):
            notes.append(line)
    return [*measured, *([""] if notes else []), *dict.fromkeys(notes)]
