"""Complete a golden set: write its manifest, then note the set under its content.

The driver of `preprocess` calls this last. Invariant: a golden set without a manifest is not complete.
"""

import logging
from contextlib import suppress

import ray

from ray_jobs.contract.artifacts import Manifest
from ray_jobs.contract.spec import Spec
from ray_jobs.dataset.same_content import note_golden
from ray_jobs.golden.part_plan import GoldenPlan
from ray_jobs.golden.part_totals import PartTotals
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.sources.formats.folder import FolderSource
from ray_jobs.sources.formats.webdataset import WebDatasetSource
from ray_jobs.sources.open_source import open_source
from ray_jobs.storage import manifests

log = logging.getLogger("assay")


def commit_set(spec: Spec, plan: GoldenPlan, totals: PartTotals, seconds: dict[str, float]) -> Manifest:
    """Write the manifest, which completes the golden set. Returns the manifest. `seconds` has the time per phase."""
    manifest = manifests.build_manifest(
        "golden",
        spec.golden_id,
        totals.list_parts(),
        rows_in=plan.rows,
        seconds=seconds,
        versions=plan.versions | {"ray": ray.__version__},
        details={
            "source": spec.suite.dataset.source,
            "source_revision": spec.source_revision,
            **({"cells": plan.cells} if plan.cells else {}),
            "listed": plan.listed,
            "source_bytes": totals.sum_fact("source_bytes"),
            "bytes": totals.sum_fact("bytes"),
            "formats": totals.sum_fact("formats"),
            "repairs": totals.sum_fact("repairs"),
            **({"joined_references": True} if spec.suite.dataset.references else {}),
            "task_seconds": {phase: round(took, 3) for phase, took in sorted(totals.seconds.items())},
        },
    )
    manifest = manifests.commit(spec.golden_uri, manifest)
    log.info("golden set complete: %d read, %d kept, rejected %s", manifest.rows_in, manifest.rows_out, manifest.lost)
    log.info("rejects: %s/rejects.html, contact sheet: %s/preview.png", spec.golden_uri, spec.golden_uri)
    return manifest


def note_content(spec: Spec) -> None:
    """Note the golden set under its content, so that a run over a copy of the data finds the set.

    Only notes a source whose own folder contains all of its content.
    """
    if not spec.content_id:
        return
    with suppress(InputError, RetryableError):  # a complete set no longer needs its source, which may be gone
        if isinstance(open_source(spec.suite.dataset), FolderSource | WebDatasetSource):
            note_golden(spec)
