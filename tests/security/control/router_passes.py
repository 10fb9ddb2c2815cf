"""What the tests of a pass over the watched folder share: a pass of the router, a watcher's state, a spec."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from assay_airflow import router

from ray_jobs.checkpoints.inspect import resolve
from ray_jobs.contract.spec import Spec
from ray_jobs.contract.suite import Suite
from ray_jobs.storage import objects

NOW = datetime(2026, 11, 30, 12, 30, tzinfo=UTC)


def count_none(run_ids: list[str], states: list[str] | None) -> int:
    return 0


def run_pass(watched_folder: Path, occasion: router.Occasion = "night") -> router.Pass:
    return router.run_pass(str(watched_folder.parent / "root"), "small", str(watched_folder), count_none, occasion, NOW)


class EmptyState:
    """An Airflow that keeps nothing of a watched asset."""

    async def aget(self, key: str, default: Any = None) -> Any:
        return default


def is_fit_for_a_log(line: str) -> bool:
    return line.isprintable() and len(line) < 1500 and line.encode() is not None


def write_run_spec(watched_folder: Path, name: str = "good") -> Spec:
    suite = Suite.model_validate({"name": "small", "dataset": {"source": "/data/images"}})
    checkpoint = resolve(str(watched_folder / name))
    spec = Spec(root=str(watched_folder.parent / "root"), suite=suite, checkpoint=checkpoint, source_revision="r1")
    objects.write(spec.uri, spec.model_dump_json().encode())
    return spec
