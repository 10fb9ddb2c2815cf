"""The metrics that a suite may name, with what its settings are checked against.

The control plane reads this table and so imports no metric. `tests/ray_jobs/metrics/test_registry.py` holds it against
the registry: who adds a metric adds its line here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ray_jobs.contract.field_schema import is_box, is_located

INFINITY = float("inf")
# What a suite's own metric cannot be named: the columns beside the metrics, and what is of two captions.
RESERVED = ("image_id", "label", "references", "failure", "rationale", "preference")


@dataclass(frozen=True)
class MetricFacts:
    """`direction`: more is better (+1), worse (-1) or neither (0). No value lies outside `range`. `needs`: what an
    image must have to be given a value."""

    direction: int
    range: tuple[float, float]
    needs: str = "nothing"


BUILT_IN = {
    "characters": MetricFacts(0, (0, INFINITY)),
    "words": MetricFacts(0, (0, INFINITY)),
    "tokens": MetricFacts(0, (0, INFINITY)),
    "empty": MetricFacts(-1, (0, 1)),
    "truncated": MetricFacts(-1, (0, 1)),
    "repetition": MetricFacts(-1, (0, 1)),
    "distinct_2": MetricFacts(+1, (0, 1), "text"),
    "collapse": MetricFacts(-1, (0, 1)),
    "refusal": MetricFacts(-1, (0, 1)),
    "boilerplate": MetricFacts(0, (0, 1)),
    "language": MetricFacts(+1, (0, 1), "text"),
    "label_hit": MetricFacts(+1, (0, 1), "name"),
    "exact_match": MetricFacts(+1, (0, 1), "references"),
    "bleu4": MetricFacts(+1, (0, 1), "references"),
    "rouge_l": MetricFacts(+1, (0, 1), "references"),
    "cider_d": MetricFacts(+1, (0, 10), "references"),
    "chrf": MetricFacts(+1, (0, 100), "references"),
}
CLIP = {
    "clipscore": MetricFacts(+1, (0, 2.5)),
    "refclipscore": MetricFacts(+1, (0, 10 / 7), "references"),
}
# Every run has these; in the order of the columns.
METRICS = {name: facts.direction for name, facts in BUILT_IN.items()}


def judge_metrics(names: Iterable[str], has_criteria: bool) -> dict[str, MetricFacts]:
    """The judge's metrics: `judge`, a share of criteria or a score from 1 to 5, each criterion, and `preference`."""
    ranges: dict[str, tuple[float, float]] = {"preference": (-1, 1), "judge": (0, 1) if has_criteria else (1, 5)}
    return {name: MetricFacts(+1, ranges.get(name, (0, 1))) for name in names}


def field_metric_names(schema: dict[str, Any], truth: Iterable[str]) -> list[str]:
    """The metrics of a suite with `caption.fields`; `truth` are the fields whose right values the data set has.

    A text, number or boolean has `field_{name}`; a list of texts or whole numbers `field_{name}_recall` and
    `_precision`; a box, or a list of boxes, `field_{name}_iou`; a list of objects `{label, box}` all three of these;
    any other list `field_{name}`.
    """
    return ["fields_valid", *(f"field_{name}{end}" for name in truth for end in _endings(schema["properties"][name]))]


def _endings(schema: dict[str, Any]) -> tuple[str, ...]:
    if schema["type"] != "array":
        return ("",)
    items = schema["items"]
    if is_box(schema) or is_box(items):
        return ("_iou",)
    if is_located(items):
        return ("_recall", "_precision", "_iou")
    return ("_recall", "_precision") if items["type"] in ("string", "integer") else ("",)
