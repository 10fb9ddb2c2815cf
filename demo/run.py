"""The demo: five checkpoints of the tiny model, and the good one once more under another name, validated in order.

    make demo

Starts the local stack of Airflow, Ray and vLLM unless it runs, triggers `validate_checkpoint` for one checkpoint after
the other (each may be the next one's baseline), prints the verdicts, and leaves the stack as it found it. What is done
is not done again. Exit code 0 when the verdicts are the ones the checkpoints were made for.
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
from dev.settings import Settings
from ray_jobs import records
from ray_jobs.contract import Record, Summary

CHECKPOINTS = Path(__file__).parent / "checkpoints"
GOOD, WORSE = "step-0800", ("step-0809", "step-0840")
METRICS = ("judge", "exact_match", "chrf", "words")


def main() -> int:
    settings, began = Settings(), time.monotonic()
    api = AirflowAPI(settings)
    found_up = not api.unhealthy()
    if not found_up:
        print("starting Airflow and Ray ...", flush=True)
    try:
        stack.up(settings)
        api.login()
        made = [validate(api, settings, checkpoint) for checkpoint in series(settings)]
    finally:
        if not found_up:
            stack.down(settings)
    Console(width=150).print(table(made))
    took = time.monotonic() - began
    print(f"records in {settings.root}/runs; {took:.0f} s in all. make up shows the runs in Airflow.")
    unexpected = [record.checkpoint.name for record in made if record.verdict.outcome != expected(record)]
    if unexpected:
        print(f"not the verdict they were made for: {', '.join(unexpected)}")
    return 1 if unexpected else 0


def validate(api: AirflowAPI, settings: Settings, checkpoint: Path) -> Record:
    """Run one validation to its end and return its record. Exits when it reaches no verdict."""
    began = time.monotonic()
    run_id = api.trigger({"checkpoint": str(checkpoint), "suite": "demo"})
    print(f"{checkpoint.name}: {api.run_page(run_id)}", flush=True)
    for task, state, tries in api.follow(run_id):
        if state in ("failed", "up_for_retry") and task != "verdict":
            print(f"  {task} {state}: {api.last_error(run_id, task, tries)}", flush=True)
    summary = api.summary(run_id)
    if summary is None:
        sys.exit(f"{checkpoint.name}: no verdict was reached; make up, then look at the run's page")
    record = records.read(summary["record"].removesuffix("/record.json"))
    print(f"  {record.verdict.outcome} after {time.monotonic() - began:.0f} s: {record.verdict.reason}", flush=True)
    return record


def table(made: list[Record]) -> Table:
    shown = Table(title="Suite demo: mean ± standard error over the images that have a value")
    for column in ("checkpoint", "images", "rejected", "captions", *METRICS, "verdict", "against"):
        shown.add_column(column, justify="left" if column in ("checkpoint", "verdict", "against") else "right")
    for record in made:
        baseline, images = record.verdict.baseline, record.images
        against = baseline.checkpoint.name if baseline else "-"
        counts = (str(images[name]) for name in ("read", "rejected", "captioned"))
        values = (told(record.metrics[name]) for name in METRICS)
        shown.add_row(record.checkpoint.name, *counts, *values, record.verdict.outcome, against)
    return shown


def told(summary: Summary) -> str:
    if summary.mean is None:
        return "-"
    digits = 1 if summary.mean >= 10 else 3
    error = f" ± {summary.standard_error:.{digits}f}" if summary.standard_error is not None else ""
    return f"{summary.mean:.{digits}f}{error}"


def series(settings: Settings) -> list[Path]:
    """The checkpoints in the order of their steps; after the good one a copy of it, which has to PASS as equal."""
    again = settings.run / "checkpoints" / f"{GOOD}-again"
    shutil.copytree(CHECKPOINTS / GOOD, again, dirs_exist_ok=True)
    return sorted([*CHECKPOINTS.iterdir(), again], key=lambda checkpoint: checkpoint.name)


def expected(record: Record) -> str:
    return "FAIL" if record.checkpoint.name in WORSE else "PASS"


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        try:
            sys.exit(main())
        except (stack.StackError, httpx.HTTPError) as error:
            sys.exit(str(error))
