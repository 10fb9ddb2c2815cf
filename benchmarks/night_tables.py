"""The tables of `benchmarks.night`. Pure: computes with what was recorded."""

import re
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.run_phases import JobPhases, Span, TaskPhases, find_phases, format_causes, sum_by_cause

SWAP = re.compile(r"engine: (new|warm)(, .*)?$")


@dataclass(frozen=True)
class Validation:
    """One checkpoint's way. `uploaded` is the upload's begin and end. All times are in epoch seconds."""

    name: str
    uploaded: tuple[float, float]
    requested: float
    ended: float
    outcome: str
    recording: dict[str, Any]


@dataclass(frozen=True)
class Night:
    title: str
    load: tuple[float, ...]
    began: float
    validations: list[Validation]

    @property
    def length(self) -> float:
        """Seconds from the first upload's begin to the end of the last run."""
        return max(validation.ended for validation in self.validations) - self.began

    def list_rows(self) -> list[TaskPhases]:
        """A row per checkpoint for the picture: the spans of its tasks and jobs, its upload and its waits."""
        return [
            TaskPhases(name=validation.name, ended=validation.ended - self.began, spans=self.list_spans(validation))
            for validation in self.validations
        ]

    def list_spans(self, validation: Validation) -> list[Span]:
        """The spans in seconds after the night's begin. The run itself counts as the scheduler's where nothing runs."""
        tasks, _ = find_phases(validation.recording)
        began, uploaded, requested, ended = (
            time - self.began for time in (*validation.uploaded, validation.requested, validation.ended)
        )
        return [
            Span("upload", began, uploaded, validation.name),
            Span("router", uploaded, max(requested, uploaded), validation.name),
            Span("scheduler", requested, ended, validation.name),
            *(span for task in tasks for span in task.spans),
        ]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def format_night(night: Night) -> str:
    """Markdown: the way of each checkpoint, and the sums by cause of each run and of the night."""
    lines = [
        f"### {night.title}: {night.length:.0f} s from the first upload to the last verdict",
        "",
        "| checkpoint | uploaded | run requested | captions | judge's answers | verdict | upload to verdict, s "
        "| caption engine | judge engine | outcome |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- | --- |",
    ]
    for validation in night.validations:
        _, jobs = find_phases(validation.recording)
        engine_times = [_format_engine(validation, stage) for stage in ("caption", "evaluate")]
        reasons = [find_engine_reason(jobs, stage) for stage in ("caption", "evaluate")]
        uploaded, requested, ended = (
            time - night.began for time in (validation.uploaded[1], validation.requested, validation.ended)
        )
        cells = [f"{uploaded:.1f}", f"{requested:.1f}", *engine_times, f"{ended:.1f}", f"{ended - uploaded:.1f}"]
        lines.append(f"| {validation.name} | {' | '.join([*cells, *reasons])} | {validation.outcome} |")
    return "\n".join([*lines, "", *_format_sums(night)])


def _format_sums(night: Night) -> list[str]:
    """A column per checkpoint, from the request of its run to the run's end, and a column for the night."""
    columns = [("night", night.length, sum_by_cause([s for row in night.list_rows() for s in row.spans], night.length))]
    for validation in night.validations:
        shift, length = validation.requested - night.began, validation.ended - validation.requested
        spans = [
            Span(span.cause, span.begin - shift, span.end - shift, span.task)
            for span in night.list_spans(validation)
            if span.cause not in ("upload", "router")
        ]
        columns.append((validation.name, length, sum_by_cause(spans, length)))
    return [*format_causes(columns), ""]


def _format_engine(validation: Validation, stage: str) -> str:
    """From when to when an engine answered this stage's jobs."""
    tasks, _ = find_phases(validation.recording)
    spans = [
        span for task in tasks if task.name == stage for span in task.spans if span.cause == "engine-work"
    ]  # fmt: skip
    return f"{spans[0].begin:.1f} to {spans[-1].end:.1f}" if spans else ""


def find_engine_reason(jobs: list[JobPhases], stage: str) -> str:
    """What the stage's job logged about its engine."""
    for job in jobs:
        for _, line in job.lines if job.task == stage else []:
            if match := SWAP.search(line):
                return match[0].removeprefix("engine: ")
    return "not asked"


def format_script(night: Night, method: str, lines: list[dict[str, Any]]) -> str:
    """The script's seconds per checkpoint, and how they compare with the night's."""
    *checkpoints, whole = lines
    phases = ("engine", "captions", "judge_engine", "answers", "scores")
    table = [
        f"### the script, {method}: {whole['seconds']:.0f} s; Assay took {night.length / whole['seconds']:.2f} times "
        "as long",
        "",
        f"| checkpoint | {' | '.join(phases)} | ended | judge | exact match |",
        "| --- |" + " ---: |" * (len(phases) + 3),
    ]
    for checkpoint in checkpoints:
        seconds = " | ".join(f"{checkpoint[phase]:.1f}" for phase in phases)
        scores = " | ".join(
            "" if checkpoint.get(name) is None else f"{checkpoint[name]:.3f}" for name in ("judge", "exact_match")
        )
        table.append(f"| {checkpoint['checkpoint']} | {seconds} | {checkpoint['ended']:.1f} | {scores} |")
    totals = " | ".join(f"{sum(checkpoint[phase] for checkpoint in checkpoints):.1f}" for phase in phases)
    return "\n".join([*table, f"| **all** | {totals} | {checkpoints[-1]['ended']:.1f} | | |", ""])
