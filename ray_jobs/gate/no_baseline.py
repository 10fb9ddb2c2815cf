"""Explain why a run has no baseline.

The reasons are: the run is the first, a person changed the suite, or an upgrade of Assay began a new series.
"""

from typing import NamedTuple

from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.names import printable

ACCEPTED = "nothing to compare with yet: accepted as the first baseline"


class NoBaseline(NamedTuple):
    """`is_lost`: the suite had a baseline or anchor, and an upgrade of Assay removed it. Such a run cannot PASS."""

    reason: str
    is_lost: bool = False


FIRST_OF_SERIES = NoBaseline(ACCEPTED)


def explain_missing_baseline(spec: Spec) -> NoBaseline:
    """The reason for the verdict of a run without a baseline, and whether an upgrade removed the baseline."""
    before = spec.predecessor
    if before is None or (spec.baseline and not spec.has_lost_anchor):
        return FIRST_OF_SERIES
    name = printable(before.checkpoint.name if before.checkpoint else before.run_uri)
    if before.changed:
        return NoBaseline(f"{ACCEPTED} because the suite changed after {name}: {', '.join(before.changed)}")
    if before.checkpoint is None:
        fault = (
            "the spec of the series before it cannot be read, so an upgrade of Assay may have started this one; "
            f"validate the checkpoint of {name}"
        )
    else:
        fault = (
            f"an upgrade of Assay started a new series of suite {printable(spec.suite.name)}; "
            f"validate {name} ({printable(before.checkpoint.uri)})"
        )
    if spec.baseline or spec.suite.gate.baseline == "none":
        return NoBaseline(f"no anchor of this series: {fault} first, or leave gate.anchor out", is_lost=True)
    uncompared = "set gate.baseline: none" + (" and leave gate.anchor out" if spec.suite.gate.anchor else "")
    return NoBaseline(f"nothing of this series to compare with: {fault} first, or {uncompared}", is_lost=True)
