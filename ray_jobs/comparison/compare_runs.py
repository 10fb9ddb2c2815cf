"""Compare two published runs image by image. Every comparison is advisory: there is no verdict.

The program `compare` and `ray_jobs.api` call this module.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from ray_jobs.comparison.comparable_metrics import load_known_metrics
from ray_jobs.comparison.published_run import PublishedRun
from ray_jobs.contract.artifacts import Comparison
from ray_jobs.gate.non_inferiority import compare_metric
from ray_jobs.gate.paired_differences import PairedDifferences
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.inputs.names import printable
from ray_jobs.storage import parts
from ray_jobs.storage.odd_items import describe
from ray_jobs.storage.pairing import find_rows, read_floats, take_rows


def compare_runs(baseline: PublishedRun, candidate: PublishedRun, metrics: Sequence[str]) -> list[Comparison]:
    """Candidate minus baseline on each metric, over the images that both runs have.

    Raises InputError when the runs have different golden sets.
    """
    if baseline.record.golden_id != candidate.record.golden_id:
        raise InputError(
            f"{baseline.uri} and {candidate.uri}: not over one golden set ({baseline.record.golden_id} and "
            f"{candidate.record.golden_id}), so no image can be compared; validate both with one suite"
        )
    known = load_known_metrics(candidate.spec)
    same = baseline.record.caption_id == candidate.record.caption_id
    pairs = {metric: PairedDifferences(known[metric], has_same_captions=same) for metric in metrics}
    for old, new in _read_pairs(baseline, candidate, metrics):
        for metric, pair in pairs.items():
            pair.add(old[metric], new[metric])
    return [compare_metric(known[metric], pair, advisory=True) for metric, pair in pairs.items()]


def _read_pairs(
    baseline: PublishedRun, candidate: PublishedRun, metrics: Sequence[str]
) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """Each part's values of both runs, in the order of the candidate's images, NaN where the baseline lacks one."""
    columns = ["image_id", *metrics]
    for part in candidate.scores.manifest.parts:
        new, old = (_read_scores(run, part.name, columns) for run in (candidate, baseline))
        rows = find_rows(new["image_id"].to_pylist(), old["image_id"].to_pylist())
        before = {metric: take_rows(read_floats(old, metric), rows) for metric in metrics}
        yield before, {metric: read_floats(new, metric) for metric in metrics}


def _read_scores(run: PublishedRun, part: str, columns: list[str]) -> pa.Table:
    try:
        return parts.read(run.scores_uri, part, columns, manifest=run.scores.manifest)
    except (InputError, RetryableError):
        raise
    except Exception as error:  # no such part, not a Parquet file, without these columns
        raise InputError(
            f"run {run.uri}: scores, part {printable(part)}: not readable ({describe(error)}); evaluate it again"
        ) from None
