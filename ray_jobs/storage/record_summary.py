"""Summarises a record as one line of the index file.

`storage.index` writes and reads the lines. `ray_jobs.api` returns them.
"""

import math
from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field

from ray_jobs.contract.artifacts import Outcome, Record
from ray_jobs.contract.frozen_model import FrozenModel
from ray_jobs.contract.spec import Checkpoint


class RecordSummary(FrozenModel):
    """A published run as the index file lists it. Keys of a newer version are kept."""

    model_config = ConfigDict(
        frozen=True, extra="allow", allow_inf_nan=False, validate_by_name=True, validate_by_alias=True,
        serialize_by_alias=True,
    )  # fmt: skip

    run_id: str
    """The run."""
    run_uri: str
    """The run's folder."""
    series_id: str
    """Runs with the same one can be compared."""
    scoring_id: str = Field(alias="scale_id")
    """Runs with the same one were measured alike."""
    checkpoint: Checkpoint
    """The checkpoint."""
    outcome: Outcome
    """The verdict's outcome."""
    reason: str
    """The verdict's reason."""
    baseline: str | None
    """The name of the checkpoint that it was compared with."""
    published_at: datetime
    """When the run was published."""
    means: dict[str, tuple[float, float | None]]
    """The mean and standard error of each metric, to six significant digits."""
    images: dict[str, int]
    """How many images were read, rejected, captioned, failed and scored."""


def summarise_record(record: Record) -> RecordSummary:
    """Returns a record's line in the index file."""
    means = {
        name: (
            _round_value(summary.mean),
            None if summary.standard_error is None else _round_value(summary.standard_error),
        )
        for name, summary in record.metrics.items()
        if summary.mean is not None and math.isfinite(summary.mean) and math.isfinite(summary.standard_error or 0)
    }
    baseline = record.verdict.baseline
    return RecordSummary(
        reason=record.verdict.reason,
        outcome=record.verdict.outcome,
        baseline=baseline.checkpoint.name if baseline else None,
        means=means,
        **{
            name: getattr(record, name)
            for name in ("run_id", "run_uri", "series_id", "scoring_id", "checkpoint", "published_at", "images")
        },
    )


def parse_summary(value: Any) -> RecordSummary | None:
    """Returns a line of the index file with all its keys, None if it is not readable."""
    try:
        return RecordSummary.model_validate(value, extra="allow")
    except ValueError:
        return None


def _round_value(value: float) -> float:
    return float(f"{value:.6g}")
