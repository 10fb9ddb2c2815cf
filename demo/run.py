"""The demo: the tiny model's checkpoints, validated in order in two suites.

    make demo

Suite `demo` gets the five captioners, and the good one again under another name. Suite `demo-fields` gets the two
checkpoints that also answer with fields.

Starts the local stack of Airflow, Ray and vLLM unless it runs, triggers `validate_checkpoint` for one checkpoint after
the other (each may be the baseline of the next), prints the verdicts, and leaves the stack as it was before. Finished
stages are reused. Exit code 0 when each checkpoint has the verdict that it was made for.
"""

import contextlib
import shutil
import sys
import time
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from dev import stack
from dev.airflow_api import AirflowAPI
from dev.processes import StackError
from dev.settings import Settings
from ray_jobs.contract.artifacts import Record, Summary
from ray_jobs.storage import records

CHECKPOINTS = Path(__file__).parent / "checkpoints"
FIELDS_CHECKPOINTS = Path(__file__).parent / "checkpoints-fields"
GOOD, WORSE = "step-0800", ("step-0809", "step-0840", "step-1700")
METRICS = {
    "demo": ("judge", "exact_match", "chrf", "words"),
    "demo-fields": ("exact_match", "field_count", "field_colour", "field_shape", "field_boxes_iou"),
}


def main() -> int:
    settings, began = Settings(), time.monotonic()
    api = AirflowAPI(settings)
    found_up = not api.list_unhealthy()
    if not found_up:
        print("starting Airflow and Ray ...", flush=True)
    try:
        stack.up(settings)
        api.login()
        records_of_suite = {
            suite: [validate(api, suite, checkpoint) for checkpoint in checkpoints]
            for suite, checkpoints in list_checkpoints(settings).items()
        }
    finally:
        if not found_up:
            stack.down(settings)
    for suite, validated in records_of_suite.items():
        Console(width=150).print(build_table(suite, validated))
    took = time.monotonic() - began
    print(f"records in {settings.root}/runs; {took:.0f} s in all. make up shows the runs in Airflow.")
    everything = [record for validated in records_of_suite.values() for record in validated]
    unexpected = [
        record.checkpoint.name for record in everything if record.verdict.outcome != find_expected_outcome(record)
    ]
    if unexpected:
        print(f"not the verdict they were made for: {', '.join(unexpected)}")
    return 1 if unexpected else 0


def validate(api: AirflowAPI, suite: str, checkpoint: Path) -> Record:
    """Run one validation to its end and return its record. Exits when it reaches no verdict."""
    began = time.monotonic()
    run_id = api.trigger({"checkpoint": str(checkpoint), "suite": suite})
    print(f"{suite}, {checkpoint.name}: {api.build_run_url(run_id)}", flush=True)
    for task, state, tries in api.follow(run_id):
        if state in ("failed", "up_for_retry") and task != "verdict":
            print(f"  {task} {state}: {api.read_last_error(run_id, task, tries)}", flush=True)
    summary = api.read_summary(run_id)
    if summary is None:
        sys.exit(f"{checkpoint.name}: no verdict was reached; make up, then look at the run's page")
    record = records.read(summary["record"].removesuffix("/record.json"))
    print(f"  {record.verdict.outcome} after {time.monotonic() - began:.0f} s: {record.verdict.reason}", flush=True)
    return record


def build_table(suite: str, suite_records: list[Record]) -> Table:
    table = Table(title=f"Suite {suite}: mean ± standard error over the images that have a value")
    for column in ("checkpoint", "images", "rejected", "captions", *METRICS[suite], "verdict", "against"):
        table.add_column(column, justify="left" if column in ("checkpoint", "verdict", "against") else "right")
    for record in suite_records:
        baseline, images = record.verdict.baseline, record.images
        against = baseline.checkpoint.name if baseline else "-"
        counts = (str(images[name]) for name in ("read", "rejected", "captioned"))
        values = (format_mean(record.metrics[name]) for name in METRICS[suite])
        table.add_row(record.checkpoint.name, *counts, *values, record.verdict.outcome, against)
    return table


def format_mean(summary: Summary) -> str:
    if summary.mean is None:
        return "-"
    digits = 1 if summary.mean >= 10 else 3
    error = f" ± {summary.standard_error:.{digits}f}" if summary.standard_error is not None else ""
    return f"{summary.mean:.{digits}f}{error}"


def list_checkpoints(settings: Settings) -> dict[str, list[Path]]:
    """Each suite's checkpoints in the order of their steps. A copy of the good captioner comes after it and has to PASS
    as equal."""
    again = settings.run / "checkpoints" / f"{GOOD}-again"
    shutil.copytree(CHECKPOINTS / GOOD, again, dirs_exist_ok=True)
    captioners = sorted([*CHECKPOINTS.iterdir(), again], key=lambda checkpoint: checkpoint.name)
    return {"demo": captioners, "demo-fields": sorted(FIELDS_CHECKPOINTS.iterdir())}


def find_expected_outcome(record: Record) -> str:
    return "FAIL" if record.checkpoint.name in WORSE else "PASS"


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        try:
            sys.exit(main())
        except (StackError, httpx.HTTPError) as error:
            sys.exit(str(error))
