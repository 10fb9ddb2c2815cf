"""The names and ranges of the metrics that a suite may name.

The model of a suite checks its gate against this table. So the control plane imports no metric. If you add a metric,
add its line here: `tests/ray_jobs/metrics/test_registry.py` compares this table with the registry.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ray_jobs.contract.field_schema import is_box, is_located

INFINITY = float("inf")
# Names that a suite's own metric cannot have: the columns beside the metrics, and the metric of two captions.
RESERVED = ("image_id", "label", "references", "failure", "rationale", "preference")


@dataclass(frozen=True)
class MetricFacts:
    """Facts about one metric.

    `direction` is +1 if more is better, -1 if more is worse, else 0. All values lie in `range`. An image gets a value
    only if it has what the metric `needs`.
    """

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
# The metrics of every run, with their directions, in the order of the columns.
METRICS = {name: facts.direction for name, facts in BUILT_IN.items()}


def build_judge_facts(names: Iterable[str], has_criteria: bool) -> dict[str, MetricFacts]:
    """Returns the facts of the judge's metrics, by name.

    `judge` is a share of the criteria, or without criteria a score from 1 to 5. Each criterion has a metric of its own,
    and `preference` compares two captions.
    """
    ranges: dict[str, tuple[float, float]] = {"preference": (-1, 1), "judge": (0, 1) if has_criteria else (1, 5)}
    return {name: MetricFacts(+1, ranges.get(name, (0, 1))) for name in names}


def list_field_metrics(schema: dict[str, Any], truth: Iterable[str]) -> list[str]:
    """Returns the names of the metrics of a suite with `caption.fields`.

    `truth` has the fields whose right values are in the data set. The names depend on the type of the field:

    - A text, number or boolean has `field_{name}`.
    - A list of texts or whole numbers has `field_{name}_recall` and `field_{name}_precision`.
    - A box or a list of boxes has `field_{name}_iou`.
    - A list of objects `{label, box}` has all three of these.
    - Any other list has `field_{name}`.
    """
    return [
        "fields_valid",
        *(f"field_{name}{end}" for name in truth for end in _suffixes(schema["properties"][name])),
    ]


def _suffixes(schema: dict[str, Any]) -> tuple[str, ...]:
    if schema["type"] != "array":
        return ("",)
    items = schema["items"]
    if is_box(schema) or is_box(items):
        return ("_iou",)
    if is_located(items):
        return ("_recall", "_precision", "_iou")
    return ("_recall", "_precision") if items["type"] in ("string", "integer") else ("",)
