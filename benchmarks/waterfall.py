"""Where the seconds of a validation go: triggers runs on the local stack, watches them, and prints a table per run.

    make up                                                               # with ASSAY_ROOT of an empty folder
    .assay/control/bin/python -m benchmarks.waterfall demo/checkpoints/step-0200     # cold: golden set and engines
    .assay/control/bin/python -m benchmarks.waterfall demo/checkpoints/step-0300 demo/checkpoints/step-0300 --svg /tmp
    .assay/control/bin/python -m benchmarks.waterfall --run RUN_ID        # a run of the past, without what polling sees
    .assay/control/bin/python -m benchmarks.waterfall --recording FILE    # a recording that --keep wrote

The checkpoints are validated one after the other. A table of all runs by cause ends the output. `--svg FOLDER` draws
each run, `--keep FOLDER` writes each recording as JSON.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.run_phases import JobPhases, TaskPhases, find_phases, format_causes, sum_by_cause
from benchmarks.run_picture import draw_run
from benchmarks.run_recorder import read_run, record_run
from dev.airflow_api import AirflowAPI
from dev.settings import Settings
from ray_jobs.storage import uris

TASK_COLUMNS = ("queued", "started", "deferred", "trigger_began", "event", "requeued", "resumed", "ended")
JOB_COLUMNS = ("submitted", "running", "first_line", "last_line", "process_gone", "over")
HEADINGS = {"trigger_began": "trigger begins", "process_gone": "driver gone", "over": "over, says Ray"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waterfall", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checkpoints", nargs="*", help="URIs, validated one after the other")
    parser.add_argument("--suite", default="demo")
    parser.add_argument("--force", action="store_true", help="caption and score again")
    parser.add_argument("--run", help="the id of a run that has ended")
    parser.add_argument("--recording", type=Path, nargs="*", default=[])
    parser.add_argument("--svg", type=Path, help="folder for a picture of each run")
    parser.add_argument("--keep", type=Path, help="folder for a JSON file of each run")
    arguments = parser.parse_args()
    recordings = [json.loads(file.read_text()) for file in arguments.recording]
    if arguments.checkpoints or arguments.run:
        settings = Settings()
        api = AirflowAPI(settings)
        api.login()
        if arguments.run:
            recordings.append(read_run(settings, api, arguments.run))
        for checkpoint in arguments.checkpoints:
            conf = {
                "checkpoint": uris.make_absolute(checkpoint), "suite": arguments.suite, "force": arguments.force,
            }  # fmt: skip
            recordings.append(record_run(settings, api, conf))
            print(f"{checkpoint}: {recordings[-1]['ended'] - recordings[-1]['began']:.1f} s", file=sys.stderr)
    rows = []
    for number, recording in enumerate(recordings):
        tasks, jobs = find_phases(recording)
        length = recording["ended"] - recording["began"]
        spans = [span for task in tasks for span in task.spans]
        title = f"{number + 1}: {describe_run(recording, jobs)}"
        sums = sum_by_cause(spans, length)
        rows.append((title, recording["load"], length, sums))
        print("\n".join([*format_run(title, length, tasks, jobs), ""]))
        name = f"{number + 1}-{Path(recording['conf']['checkpoint']).name}"
        if arguments.svg:
            (arguments.svg / f"{name}.svg").write_text(draw_run(title, tasks, length))
        if arguments.keep:
            (arguments.keep / f"{name}.json").write_text(json.dumps(recording))
    print("\n".join(format_sums(rows)))
    return 0


def describe_run(recording: dict[str, Any], jobs: list[JobPhases]) -> str:
    """The checkpoint, and how much there was to do: no job ran, warm engines answered, or an engine started."""
    name = Path(recording["conf"]["checkpoint"]).name
    if not jobs:
        return f"{name}, nothing to do"
    logs = "\n".join(line for job in jobs for _, line in job.lines)
    golden = "golden set and " if any(job.task == "preprocess" for job in jobs) else ""
    return f"{name}, {golden}engines cold" if "engine: new" in logs else f"{name}, new, engines warm"


def format_run(title: str, length: float, tasks: list[TaskPhases], jobs: list[JobPhases]) -> list[str]:
    """Two Markdown tables: the run's tasks and its jobs, each time in seconds after the trigger."""
    lines = [f"### {title}: {length:.1f} s", "", *_format_heading("task", TASK_COLUMNS)]
    lines += [_format_row(task.name, task, TASK_COLUMNS) for task in tasks]
    if jobs:
        lines += ["", *_format_heading("job of", JOB_COLUMNS)]
        lines += [_format_row(job.task, job, JOB_COLUMNS) for job in jobs]
    return lines


def _format_heading(first: str, columns: tuple[str, ...]) -> list[str]:
    names = [HEADINGS.get(column, column.replace("_", " ")) for column in columns]
    return [f"| {first} | {' | '.join(names)} |", "| --- |" + " ---: |" * len(columns)]


def _format_row(name: str, phases: TaskPhases | JobPhases, columns: tuple[str, ...]) -> str:
    times = [getattr(phases, column) for column in columns]
    return f"| {name} | {' | '.join('' if time is None else f'{time:.2f}' for time in times)} |"


def format_sums(rows: list[tuple[str, tuple[float, ...], float, dict[str, float]]]) -> list[str]:
    """A Markdown table with a row per cause and a column per run."""
    lines = format_causes([(title, length, sums) for title, _, length, sums in rows])
    lines.append(f"| load average before | {' | '.join(f'{load[0]:.1f}' if load else '' for _, load, *_ in rows)} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
