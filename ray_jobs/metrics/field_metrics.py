"""Declare the metrics of a suite with fields: one for the schema, and those of each field with a truth."""

from collections.abc import Iterable
from typing import Any

from ray_jobs.contract.field_schema import is_box, is_located
from ray_jobs.metrics import Metric
from ray_jobs.metrics.builtin import box_iou, field_match, fields_valid, object_lists


def build_field_metrics(schema: dict[str, Any], truth: Iterable[str]) -> dict[str, Metric]:
    """The metrics by name; `truth` are the fields whose right values the data set has.

    A text, number or boolean has `field_{name}`; a list of texts or whole numbers `field_{name}_recall` and
    `_precision`; a box, or a list of boxes, `field_{name}_iou`; a list of objects `{label, box}` all three of these;
    any other list `field_{name}`.
    """
    metrics = [*fields_valid.METRICS]
    for name in truth:
        metrics += _build_metrics_of(name, schema["properties"][name])
    return {metric.name: metric for metric in metrics}


def _build_metrics_of(name: str, schema: dict[str, Any]) -> list[Metric]:
    if schema["type"] != "array":
        return field_match.metrics_of(name)
    items = schema["items"]
    if is_box(schema) or is_box(items):
        return box_iou.metrics_of(name)
    if is_located(items):
        return [*object_lists.metrics_of(name), *box_iou.metrics_of(name)]
    return object_lists.metrics_of(name) if items["type"] in ("string", "integer") else field_match.metrics_of(name)
