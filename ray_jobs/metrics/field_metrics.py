"""Declare the metrics of a suite with fields: one for the schema, and some for each field with a truth."""

from collections.abc import Iterable
from typing import Any

from ray_jobs.contract.field_schema import is_box, is_located
from ray_jobs.metrics import Metric
from ray_jobs.metrics.builtin import box_iou, field_match, fields_valid, object_lists


def build_field_metrics(schema: dict[str, Any], truth: Iterable[str]) -> dict[str, Metric]:
    """The metrics by name. `truth` has the names of the fields whose right values the data set has.

    - A text, number or boolean has `field_{name}`.
    - A list of texts or whole numbers has `field_{name}_recall` and `field_{name}_precision`.
    - A box, or a list of boxes, has `field_{name}_iou`.
    - A list of objects `{label, box}` has the last three.
    - Any other list has `field_{name}`.
    """
    metrics = [*fields_valid.METRICS]
    for name in truth:
        metrics += _build_metrics_of(name, schema["properties"][name])
    return {metric.name: metric for metric in metrics}


def _build_metrics_of(name: str, schema: dict[str, Any]) -> list[Metric]:
    if schema["type"] != "array":
        return field_match.build_metrics(name)
    items = schema["items"]
    if is_box(schema) or is_box(items):
        return box_iou.build_metrics(name)
    if is_located(items):
        return [*object_lists.build_metrics(name), *box_iou.build_metrics(name)]
    return (
        object_lists.build_metrics(name) if items["type"] in ("string", "integer") else field_match.build_metrics(name)
    )
