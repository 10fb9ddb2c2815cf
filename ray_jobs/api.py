"""The public API: reads Assay's stored results, from a script or a notebook. No function writes.

    from ray_jobs import api

    latest = api.list_records("s3://bucket/assay", "nightly")[-1]
    for scores in api.iterate_scores(latest.run_uri, ["image_id", "chrf"]):
        print(scores.to_pandas())

The API needs no Ray cluster and no GPU. `list_records` and `load_record` work in both environments. The other
functions need the extra `data`. A run is named by the URI of its folder or of its record.json. Every function raises
InputError if a person must change something, and RetryableError if the same call may succeed later. Both errors name
the remedy in one line. `examples/` has a script for each use. Names outside `__all__` may change with any version.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ray_jobs.contract.artifacts import Comparison, Manifest, Record
from ray_jobs.inputs.errors import InputError, RetryableError, suggest
from ray_jobs.storage import index, manifests, records, uris
from ray_jobs.storage.record_summary import RecordSummary

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Comparison",
    "InputError",
    "Record",
    "RecordSummary",
    "RetryableError",
    "RunComparison",
    "compare_runs",
    "iterate_captions",
    "iterate_scores",
    "list_records",
    "load_record",
]  # fmt: skip


@dataclass(frozen=True)
class RunComparison:
    """The differences of two runs, with one comparison for each metric that means the same in both.

    `left_out` has the reason for each metric that is not compared. All comparisons are advisory: none is a verdict.
    """

    baseline: Record
    candidate: Record
    comparisons: tuple[Comparison, ...]
    left_out: dict[str, str]


def list_records(root: str, suite: str) -> list[RecordSummary]:
    """Returns the published runs of a suite, oldest first, with their outcomes and the means of their metrics.

    Reads the index file of the suite, and one more file for each run that was published since the index was written. A
    suite without runs gives an empty list.
    """
    return list(index.load_complete(uris.make_absolute(root), suite).records.values())


def load_record(run_uri: str) -> Record:
    """Returns the record of a run: its verdict with every comparison, its metrics, images, seconds and versions."""
    return records.load(run_uri)


def iterate_captions(run_uri: str, columns: Sequence[str] | None = None) -> Iterator["pa.Table"]:
    """Yields the run's captions part by part, each as a PyArrow table of some hundred rows, one row per image.

    A table has the named `columns`, or all of them: `image_id`, `caption`, `finish_reason`, `tokens`, `failure` (why
    there is no caption, else null), `detail` and more. One part is in memory at a time.
    """
    from ray_jobs.comparison.published_run import load_run

    run = load_run(run_uri)
    captions_uri = run.spec.captions_uri_of(run.record.caption_id)
    return _iterate(captions_uri, manifests.require_manifest(captions_uri, "caption"), columns)


def iterate_scores(run_uri: str, columns: Sequence[str] | None = None) -> Iterator["pa.Table"]:
    """Yields the run's scores part by part, with the same parts and rows as `iterate_captions`.

    A table has the named `columns`, or all of them: `image_id`, `label`, `failure` (why the image has no scores, else
    null), `rationale` (the judge's), and one column per metric. A metric's column is in its unit, and null for an image
    without a value.
    """
    from ray_jobs.comparison.published_run import load_run

    run = load_run(run_uri)
    return _iterate(run.scores_uri, run.scores.manifest, columns)


def compare_runs(baseline_uri: str, candidate_uri: str) -> RunComparison:
    """Compare two runs image by image, as `assay compare` does. Both runs need the same golden set."""
    from ray_jobs.comparison import compare_runs
    from ray_jobs.comparison.comparable_metrics import find_comparable_metrics
    from ray_jobs.comparison.published_run import load_run

    baseline, candidate = load_run(baseline_uri), load_run(candidate_uri)
    metrics, left_out = find_comparable_metrics(baseline, candidate)
    comparisons = compare_runs.compare_runs(baseline, candidate, metrics)
    return RunComparison(baseline.record, candidate.record, tuple(comparisons), left_out)


def _iterate(stage_uri: str, manifest: Manifest, columns: Sequence[str] | None) -> Iterator["pa.Table"]:
    from ray_jobs.storage import parts

    for part in manifest.parts:
        table = parts.read(stage_uri, part.name, manifest=manifest)
        if missing := next((name for name in columns or () if name not in table.column_names), None):
            raise InputError(f"column {missing!r}: not in {stage_uri}{suggest(missing, table.column_names)}")
        yield table if columns is None else table.select(list(columns))
