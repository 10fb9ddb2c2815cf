"""Which checkpoints still have to be validated: what lies below the prefix and is whole, minus what has a record.

Reconciles instead of trusting events: one that was lost, or that came twice, changes nothing.
"""

import os
import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

from assay_airflow.fingerprints import resolve
from ray_jobs import records, storage
from ray_jobs.checkpoint import Incomplete, check_whole, is_adapter
from ray_jobs.contract import BadInput, Checkpoint, digest
from ray_jobs.plan import load_suite

ACTIVE = ["queued", "running"]
RunCount = Callable[[list[str], list[str] | None], int]


def prefix() -> str | None:
    """ASSAY_CHECKPOINTS: the folder whose folders are checkpoints."""
    uri = os.environ.get("ASSAY_CHECKPOINTS")
    return storage.absolute(uri) if uri else None


def suite() -> str:
    return os.environ.get("ASSAY_ROUTER_SUITE", "demo")


def names(uri: str) -> list[str]:
    """Names of the folders below the prefix, step-200 before step-1000: so that baselines go forward."""
    return sorted((name for name in storage.folders(uri) if not name.startswith(".")), key=_natural)


def unvalidated(root: str, suite_name: str, uri: str) -> Iterator[Checkpoint]:
    """Whole checkpoints below `uri` without a record in the suite, in order of name; the others are accounted for.

    Adapters that name no base of their own have the suite's.
    """
    recorded = {entry.checkpoint_folder for entry in records.published(storage.absolute(root), suite_name)}
    for name in names(uri):
        try:
            base_model = load_suite(suite_name).engine.base_model if is_adapter(f"{uri}/{name}") else None
            checkpoint = resolve(root, f"{uri}/{name}", base_model)
        except (Incomplete, BadInput) as reason:
            print(f"passed over: {reason}")
            continue
        if checkpoint.folder in recorded:
            print(f"has a record: {name} ({checkpoint.folder})")
        else:
            yield checkpoint


def requests(
    checkpoints: Iterator[Checkpoint], suite_name: str, count_runs: RunCount, retry_failed: bool, today: date
) -> list[dict[str, Any]]:
    """What to trigger `validate_checkpoint` with, one a checkpoint.

    Each is told which one follows it. Run ids are made from the checkpoint's content, so that asking twice asks for one
    run. A run that ended without a record is tried again once a day, and only when `retry_failed`. `count_runs(run_ids,
    states)` counts those that are.
    """
    asked: list[dict[str, Any]] = []
    for checkpoint in checkpoints:
        run_id = f"router__{suite_name}__{checkpoint.folder}"
        retries = [f"{run_id}__retry-{day:%Y%m%d}" for day in (today, today - timedelta(days=1))]
        if count_runs([run_id, *retries], ACTIVE):
            print(f"under way: {checkpoint.name} ({run_id})")
            continue
        if count_runs([run_id], None):
            if not retry_failed:
                print(f"failed before: {checkpoint.name} ({run_id}); the nightly pass tries it again")
                continue
            run_id = retries[0]
            if count_runs([run_id], None):
                print(f"failed today: {checkpoint.name} ({run_id}); clear it, or wait for the next night")
                continue
        print(f"to validate: {checkpoint.name} ({run_id})")
        if asked:
            asked[-1]["conf"]["following"] = checkpoint.uri
        asked.append({"trigger_run_id": run_id, "conf": {"checkpoint": checkpoint.uri, "suite": suite_name}})
    return asked


def whole_listings(uri: str, known: dict[str, str]) -> dict[str, str]:
    """A digest by name of each whole checkpoint below `uri`; those whose digest is `known` are not opened again."""
    found = {}
    for name in names(uri):
        checkpoint = f"{uri}/{name}"
        listing = digest([(entry.key, entry.size, entry.version) for entry in storage.entries(checkpoint)])
        if known.get(name) == listing or _is_whole(checkpoint):
            found[name] = listing
    return found


def _is_whole(uri: str) -> bool:
    try:
        check_whole(uri)
    except (Incomplete, BadInput):
        return False
    return True


def _natural(name: str) -> list[tuple[int, str]]:
    """A sorting key by which numbers inside a name count as numbers."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
