"""The tables of a night: the way of each checkpoint, and sums that add up to the night."""

from typing import Any

from recorded_run import BEGAN, build_recording, format_time

from benchmarks.night_tables import Night, Validation, format_night, format_script
from benchmarks.run_phases import parse_time, sum_by_cause

SECONDS = {"engine": 8.0, "captions": 4.0, "judge_engine": 7.0, "answers": 6.0, "scores": 0.1}
LINES: list[dict[str, Any]] = [
    {"checkpoint": "step-0100", **SECONDS, "ended": 25.1, "judge": 0.75, "exact_match": 0.5},
    {"checkpoint": "step-0200", **SECONDS, "judge_engine": 0.0, "ended": 43.2, "judge": None},
    {"method": "restart", "images": 200, "seconds": 50.0},
]


def build_night() -> Night:
    """Two checkpoints: the second is uploaded while the first is validated, and its run is 30 s later."""
    first = Validation("step-0100", (BEGAN - 9, BEGAN - 8), BEGAN, BEGAN + 23, "PASS", shift_recording(0))
    second = Validation("step-0200", (BEGAN + 1, BEGAN + 2), BEGAN + 30, BEGAN + 53, "FAIL", shift_recording(30))
    return Night("a night", (0.5,), BEGAN - 10, [first, second])


def shift_recording(seconds: float) -> dict[str, Any]:
    """The recording of a run that began so many seconds later, with the night's begin as its zero."""
    recording = build_recording()
    recording["began"] = BEGAN - 10
    for task in recording["tasks"]:
        for key in ("start_date", "end_date", "queued_when"):
            task[key] = format_time(_seconds_of(task[key]) + seconds)
    for lines in recording["logs"].values():
        for line in lines:
            line["timestamp"] = format_time(_seconds_of(line["timestamp"]) + seconds)
    for job in recording["jobs"].values():
        job["info"]["start_time"] += seconds * 1000
        job["info"]["end_time"] += seconds * 1000
        job["lines"] = [(seen + seconds, line) for seen, line in job["lines"]]
    return recording


def _seconds_of(text: str) -> float:
    return parse_time(text) - BEGAN


def test_each_checkpoint_has_its_way_from_the_upload_to_the_verdict() -> None:
    rows = [row for row in format_night(build_night()).splitlines() if row.startswith("| step-")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert cells == [
        ["step-0100", "2.0", "10.0", "19.5 to 22.5", "", "33.0", "31.0", "not asked", "not asked", "PASS"],
        ["step-0200", "12.0", "40.0", "49.5 to 52.5", "", "63.0", "51.0", "not asked", "not asked", "FAIL"],
    ]


def test_the_engine_is_told_as_its_job_logged_it() -> None:
    night = build_night()
    for job in night.validations[0].recording["jobs"].values():
        job["lines"].insert(3, (BEGAN + 9.0, "12:00:09 engine: warm, weights swapped and checked in 0.14 s"))
    [first] = [row for row in format_night(night).splitlines() if row.startswith("| step-0100")]
    assert "warm, weights swapped and checked in 0.14 s" in first


def test_the_nights_sums_add_up_and_waits_for_the_router_count_last() -> None:
    night = build_night()
    assert night.length == 63.0
    sums = sum_by_cause([span for row in night.list_rows() for span in row.spans], night.length)
    assert round(sum(sums.values()), 6) == 63.0
    assert sums["engine-work"] == 6.0
    assert round(sums["upload"], 6) == 1.0  # the second upload lies beside the first run, which counts
    assert round(sums["router"], 6) == 15.0  # 2 to 10, and 33 to 40 when no run was there


def test_the_script_is_compared_with_the_night() -> None:
    table = format_script(build_night(), "restart", LINES)
    assert table.startswith("### the script, restart: 50 s; Assay took 1.26 times as long")
    assert "| step-0100 | 8.0 | 4.0 | 7.0 | 6.0 | 0.1 | 25.1 | 0.750 | 0.500 |" in table
    assert "| step-0200 | 8.0 | 4.0 | 0.0 | 6.0 | 0.1 | 43.2 |  |  |" in table
    assert "| **all** | 16.0 | 8.0 | 7.0 | 12.0 | 0.2 | 43.2 | | |" in table
