"""Builds the page docs/reference/metrics.md: every metric with its unit, range and error bar, from the registry.

`dev.docs.reference` calls it.
"""

import inspect
import math
from collections.abc import Iterable

from ray_jobs.contract.field_schema import complete_schema
from ray_jobs.contract.sections.judge import Judge
from ray_jobs.metrics import Metric, registry
from ray_jobs.metrics.clip import similarity
from ray_jobs.metrics.field_metrics import build_field_metrics

BETTER = {1: "more", -1: "less", 0: "neither"}
NEEDS = {
    "nothing": "",
    "references": "references",
    "label": "a label",
    "name": "a label with a word in it",
    "text": "enough text",
    "fields": "an answer that fits the schema",
    "truth": "the right value",
}
EXAMPLE_FIELDS = {  # one field of each kind with different metrics
    "count": {"type": "integer"},
    "tags": {"type": "array", "items": {"type": "string"}},
    "box": {"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4},
}
OF_JUDGES = {
    "judge": "The share of the criteria that the judge finds true.",
    "judge_colours": "Whether the judge finds the criterion `colours` true.",
    "preference": "-1 where the judge prefers the baseline's caption, +1 where the candidate's, 0 for a tie.",
}
HEADER = "| metric | unit | range | better | error bar | needs | what it is |"
INTRODUCTION = """# Metrics

A metric gives each caption a value. The value of an image is missing where the caption lacks what the metric needs; a
missing value is never 0. [How metrics work](../explanation/metrics.md) says what each compares, and
[Add a metric](../how-to/add-a-metric.md) how to write your own.

- **better**: what the gate and the report count as an improvement.
- **error bar**: Student's t for a mean, Wilson's interval for a share. Of two captions means that each value compares a
  caption with all others, so the error is doubled.

`make docs` writes this page from the registry of metrics."""
OF_FIELDS = """The names show fields called `count`, `tags` and `box`. Which field has which metrics is in
[Ask for fields](../how-to/ask-for-fields.md#metrics)."""
OF_JUDGE = """The names show the criterion `colours`. Without criteria, `judge` is a score from 1 to 5. `preference`
needs `judge.pairwise`."""


def build_page() -> str:
    """The text of docs/reference/metrics.md."""
    schema = complete_schema({"type": "object", "properties": EXAMPLE_FIELDS})
    lines = [INTRODUCTION]
    lines += ["", "## In every run", "", *format_table(registry.BUILT_IN.values())]
    lines += ["", "## With `metrics.clip`", "", *format_table(similarity.METRICS)]
    lines += ["", "## With `caption.fields`", "", OF_FIELDS, ""]
    lines += format_table(build_field_metrics(schema, EXAMPLE_FIELDS).values())
    lines += ["", "## With a judge", "", OF_JUDGE, ""]
    judge = Judge(kind="vllm", model="judge", criteria=("colours",), pairwise=True)
    lines += format_table(registry.build_judge_metrics(judge).values())
    return "\n".join(lines) + "\n"


def format_table(metrics: Iterable[Metric]) -> list[str]:
    """One row per metric. The meaning is the first sentence of the metric's file."""
    lines = [HEADER, "| --- | --- | --- | --- | --- | --- | --- |"]
    for metric in metrics:
        bar = "Wilson" if metric.kind == "share" else "t, of two captions" if metric.order == 2 else "t"
        range_text = f"{_format_end(metric.range[0])} to {_format_end(metric.range[1])}"
        cells = (
            f"`{metric.name}`",
            metric.unit,
            range_text,
            BETTER[metric.direction],
            bar,
            NEEDS[metric.needs],
            _describe(metric),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _format_end(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:g}"


def _describe(metric: Metric) -> str:
    """The first sentence of the metric's file; the judge's metrics have no file of their own."""
    if metric.name in OF_JUDGES:
        return OF_JUDGES[metric.name]
    measure = metric.measure or metric.measure_all
    # The `measure` of a field's metric is a `partial`.
    module = inspect.getmodule(getattr(measure, "func", measure)) if measure else similarity
    return (inspect.getdoc(module) or "").partition("\n\n")[0].replace("\n", " ").replace("|", "\\|")
