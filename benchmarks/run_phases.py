"""Turns a recording of one run into spans, and says for each second of the run what it was spent on.

Pure: `benchmarks.run_recorder` reads Airflow and Ray, this module only computes. All times are in seconds after the
request that triggered the run.

Several things may happen at once. Then a second counts for the first of CAUSES that is under way, so the sums by cause
add up to the run's length. A second in which none is under way is the scheduler's.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

CAUSES = {
    "engine-work": "engines: from the first answer of a job to the last",
    "engine-start": "engines: from the first question of a job to the first answer (start or swap)",
    "job-work": "jobs: the rest, from the driver's first line to its last",
    "job-start": "jobs: start and imports, from the submission to the driver's first line",
    "job-exit": "jobs: from the driver's last line to Ray's end of the job",
    "notice": "from Ray's end of a job until the task or its trigger sees it",
    "task-work": "tasks: their work",
    "task-start": "tasks: fork and DAG file",
    "task-exit": "tasks: from the last line of the log to the end that Airflow records",
    "sensor-wait": "sensors: waiting in the triggerer",
    "deferral": "deferrals: from the task to its trigger, and from the event back to a process",
    "scheduler": "scheduler: hops, queueing, and the ends of the run",
    "upload": "the checkpoint's upload",
    "router": "from the end of the upload to the request of the run",
}
PROCESS_BEGINS, PARSED = "::group::Pre Execute", "Worker startup parse complete"
TRIGGER_BEGINS, TRIGGER_ENDS = re.compile(r"^trigger .* starting$"), "Trigger fired event"
JOB_NAMED = re.compile(r"Ray job (assay-[\w-]+)(?::| \()")
RAYS_LINES = re.compile(r"Running entrypoint for job|Runtime env is setting up")
ENGINE_ASKED, ENGINE_ANSWERS = re.compile(r"engine: asking "), re.compile(r"engine: answering")
ENGINE_DONE = re.compile(r"captions complete:|judge: \d+ of \d+ questions answered")
CLOCK = re.compile(r"^(\d\d):(\d\d):(\d\d) ")


@dataclass(frozen=True)
class Span:
    cause: str
    begin: float
    end: float
    task: str


@dataclass
class TaskPhases:
    """When the phases of a task began and ended. None: the task had no such phase, or nobody saw it."""

    name: str
    queued: float | None = None
    started: float | None = None
    deferred: float | None = None
    trigger_began: float | None = None
    event: float | None = None
    requeued: float | None = None
    resumed: float | None = None
    ended: float | None = None
    tries: int = 1
    spans: list[Span] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class JobPhases:
    """`submitted` is when Ray accepted the job, `over` when Ray's API gives its end."""

    name: str
    task: str
    submitted: float
    running: float | None
    first_line: float | None
    last_line: float | None
    process_gone: float | None
    over: float | None
    lines: list[tuple[float, str]]


def parse_time(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def find_phases(recording: dict[str, Any]) -> tuple[list[TaskPhases], list[JobPhases]]:
    """The phases of all tasks that ran, by their start, and of their jobs, by their submission."""
    jobs = [job for name, times in recording["jobs"].items() if (job := _find_job(name, times, recording))]
    by_name = {job.name: job for job in jobs}
    tasks = [
        _find_task(task, recording, by_name) for task in recording["tasks"] if task["start_date"] or task["end_date"]
    ]
    named = {name for task in tasks for name in task.jobs}
    return (
        sorted(tasks, key=lambda task: (task.started or task.trigger_began or 0, task.ended or 0)),
        sorted((job for job in jobs if job.name in named), key=lambda job: job.submitted),
    )


def _find_job(name: str, times: dict[str, Any], recording: dict[str, Any]) -> JobPhases | None:
    began, info = recording["began"], times["info"]
    if not info.get("start_time"):
        return None
    submitted, over = info["start_time"] / 1000 - began, (info["end_time"] or 0) / 1000 - began
    lines = [
        (_place_line(seen, line, info["start_time"] / 1000) - began, line)
        for seen, line in times["lines"]
        if line.strip() and not RAYS_LINES.search(line)
    ]
    running = next((seen - began for seen, status in times["statuses"] if status == "RUNNING"), None)
    gone = times["process_gone"]
    return JobPhases(
        name=name,
        task=(info.get("metadata") or {}).get("airflow_task", ""),
        submitted=submitted,
        running=running,
        first_line=lines[0][0] if lines else None,
        last_line=lines[-1][0] if lines else None,
        process_gone=gone - began if gone else None,
        over=over if over > submitted else None,
        lines=lines,
    )


def _place_line(seen: float | None, line: str, submitted: float) -> float:
    """The time of a line of a job's log: when it was seen, or else the clock that it begins with."""
    if seen is not None:
        return seen
    clock = CLOCK.match(line)
    if clock is None:
        return submitted
    midnight = submitted - submitted % 86400
    hours, minutes, seconds = map(int, clock.groups())
    placed = midnight + hours * 3600 + minutes * 60 + seconds
    return placed if placed >= submitted - 1 else placed + 86400


def _find_task(task: dict[str, Any], recording: dict[str, Any], jobs: dict[str, JobPhases]) -> TaskPhases:
    began, name = recording["began"], task["task_id"]
    lines = [(parse_time(line["timestamp"]) - began, str(line["event"])) for line in recording["logs"].get(name, [])]
    lines.sort(key=lambda line: line[0])
    phases = TaskPhases(name, tries=task["try_number"])
    if task["end_date"]:
        phases.ended = parse_time(task["end_date"]) - began
    queued = [seen - began for seen, who, state, _ in recording["states"] if who == name and state == "queued"]
    last_queued = parse_time(task["queued_when"]) - began if task["queued_when"] else None
    _read_lines(phases, lines, parse_time(task["start_date"]) - began if task["start_date"] else None)
    phases.jobs = [job for job in _list_named_jobs(lines) if job in jobs]
    if phases.resumed is None:
        phases.queued = last_queued
    else:
        phases.requeued = last_queued
        phases.queued = min([time for time in queued if time < (phases.started or 0) + 1], default=None)
    for job in phases.jobs:
        noticed = phases.event if phases.event is not None else _find_next_line(lines, jobs[job].over)
        phases.spans += list_job_spans(jobs[job], name, noticed)
    if phases.trigger_began is not None and phases.event is not None and not phases.jobs:
        phases.spans.append(Span("sensor-wait", phases.trigger_began, phases.event, name))
    return phases


def _find_next_line(lines: list[tuple[float, str]], over: float | None) -> float | None:
    """When a task that followed its job in the worker went on after the job's end."""
    return next((time for time, event in lines if over is not None and time >= over and "[ray]" not in event), None)


def _read_lines(phases: TaskPhases, lines: list[tuple[float, str]], start: float | None) -> None:
    """Fill in the times and spans that the task's log tells: its processes, and its trigger between them."""
    process, parsed, last = None, None, 0.0
    phases.started = start

    def close_process(end: float) -> None:
        if process is None:
            return
        ready = min(parsed or end, end)
        phases.spans.append(Span("task-start", process, ready, phases.name))
        phases.spans.append(Span("task-work", ready, end, phases.name))

    for time, event in lines:
        if event == PROCESS_BEGINS:
            process, parsed = time, None
            if phases.event is not None:
                phases.resumed = time
                phases.spans.append(Span("deferral", phases.event, time, phases.name))
            elif start is not None:
                process = min(time, start)
        elif event == PARSED:
            parsed = time
        elif TRIGGER_BEGINS.match(event):
            close_process(last)
            if process is not None:
                phases.deferred = last
                phases.spans.append(Span("deferral", last, time, phases.name))
            process, phases.trigger_began = None, time
        elif event == TRIGGER_ENDS:
            phases.event = time
        last = time
    if process is not None:
        close_process(last)
        if phases.ended is not None and phases.ended > last:
            phases.spans.append(Span("task-exit", last, phases.ended, phases.name))


def _list_named_jobs(lines: list[tuple[float, str]]) -> list[str]:
    names = [match[1] for _, event in lines for match in [JOB_NAMED.search(event)] if match]
    return list(dict.fromkeys(names))


def list_job_spans(job: JobPhases, task: str, event: float | None) -> list[Span]:
    """The job's start, work, exit, and the time until the task's trigger noticed its end."""
    over = job.over if job.over is not None else (job.last_line or job.submitted)
    first = job.first_line if job.first_line is not None else over
    last = min(job.last_line if job.last_line is not None else over, over)
    spans = [
        Span("job-start", job.submitted, first, task),
        Span("job-work", first, last, task),
        Span("job-exit", last, over, task),
        *_list_engine_spans(job, task, over),
    ]
    if event is not None and event > over:
        spans.append(Span("notice", over, event, task))
    return spans


def _list_engine_spans(job: JobPhases, task: str, over: float) -> list[Span]:
    """An engine's start and its work, as the job's lines tell them. A job may ask several engines, in turn."""
    spans, start, work = list[Span](), None, None
    for time, line in [*job.lines, (over, "captions complete:")]:
        if ENGINE_ASKED.search(line):
            start = time
        elif ENGINE_ANSWERS.search(line) and start is not None:
            spans.append(Span("engine-start", start, time, task))
            start, work = None, time
        elif ENGINE_DONE.search(line) and work is not None:
            spans.append(Span("engine-work", work, time, task))
            work = None
    return spans


def sum_by_cause(spans: list[Span], length: float) -> dict[str, float]:
    """Seconds of the run by cause; together they are `length`."""
    edges = sorted({0.0, length, *(min(max(edge, 0.0), length) for span in spans for edge in (span.begin, span.end))})
    sums = dict.fromkeys(CAUSES, 0.0)
    order = list(CAUSES)
    for begin, end in pairwise(edges):
        middle = (begin + end) / 2
        active = [order.index(span.cause) for span in spans if span.begin <= middle < span.end]
        sums[order[min(active)] if active else "scheduler"] += end - begin
    return sums


def format_causes(columns: Sequence[tuple[str, float, dict[str, float]]]) -> list[str]:
    """A Markdown table of seconds with a row per cause. A column is a title, its length and its sums by cause."""
    lines = [
        f"| seconds by cause | {' | '.join(title for title, *_ in columns)} |",
        "| --- |" + " ---: |" * len(columns),
    ]
    for cause, words in CAUSES.items():
        if any(sums[cause] for *_, sums in columns):
            lines.append(f"| {words} | {' | '.join(f'{sums[cause]:.1f}' for *_, sums in columns)} |")
    return [*lines, f"| **all** | {' | '.join(f'**{length:.1f}**' for _, length, _ in columns)} |"]
