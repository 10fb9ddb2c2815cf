"""A recorded run for the tests of the waterfalls: a plain task, and a task that defers to a Ray job."""

from datetime import UTC, datetime
from typing import Any

BEGAN = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()
JOB = "assay-caption-0123-4567-g0"


def format_time(seconds: float) -> str:
    return datetime.fromtimestamp(BEGAN + seconds, UTC).isoformat()


def build_task(name: str, start: float, end: float, queued: float) -> dict[str, Any]:
    return {
        "task_id": name, "try_number": 1, "start_date": format_time(start), "end_date": format_time(end),
        "queued_when": format_time(queued),
    }  # fmt: skip


def build_log(*lines: tuple[float, str]) -> list[dict[str, Any]]:
    return [{"timestamp": format_time(seconds), "event": event} for seconds, event in lines]


def build_recording() -> dict[str, Any]:
    """A plain task, and a task that defers to a job whose end is noticed late."""
    return {
        "began": BEGAN,
        "tasks": [build_task("caption", 4.0, 22.0, 20.5), build_task("plan", 1.0, 3.5, 0.5)],
        "states": [(BEGAN + 3.8, "caption", "queued", 1), (BEGAN + 20.6, "caption", "queued", 1)],
        "logs": {
            "plan": build_log((1.1, "::group::Pre Execute"), (1.4, "Worker startup parse complete"), (2.0, "done")),
            "caption": build_log(
                (4.1, "::group::Pre Execute"),
                (4.3, "Worker startup parse complete"),
                (4.9, f"Ray job {JOB}: http://ray/#/jobs/{JOB}"),
                (5.0, "Pausing task as DEFERRED. "),
                (6.0, "trigger validate_checkpoint/run/caption/-1/1 (ID 2) starting"),
                (19.0, "Trigger fired event"),
                (21.0, "::group::Pre Execute"),
                (21.2, "Worker startup parse complete"),
                (21.9, "::endgroup::"),
            ),
        },
        "jobs": {
            JOB: {
                "info": {"start_time": (BEGAN + 4.8) * 1000, "end_time": (BEGAN + 16.0) * 1000,
                         "metadata": {"airflow_task": "caption"}},
                "statuses": [(BEGAN + 5.5, "RUNNING")],
                "process_gone": BEGAN + 15.8,
                "lines": [
                    (BEGAN + 5.4, f"Running entrypoint for job {JOB}: python"),
                    (BEGAN + 8.0, "12:00:08 caption: checkpoint"),
                    (BEGAN + 8.5, "12:00:08 engine: asking step-0800 274 questions in 5 parts"),
                    (BEGAN + 9.5, "12:00:09 engine: answering, 1.0 s after the start"),
                    (BEGAN + 12.5, "12:00:12 captions complete: 274 in, 274 captioned, failed {}"),
                    (BEGAN + 14.0, "12:00:14 caption: complete"),
                ],
            },
            "assay-evaluate-of-another-run": {
                "info": {"start_time": BEGAN * 1000, "end_time": 0}, "statuses": [], "process_gone": None, "lines": [],
            },
        },
    }  # fmt: skip
