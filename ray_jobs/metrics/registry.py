"""List all built-in metrics, and all metrics of one run."""

from ray_jobs.contract.metric_names import RESERVED
from ray_jobs.contract.sections.judge import Judge
from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError
from ray_jobs.metrics import Metric
from ray_jobs.metrics.builtin import (
    bleu4,
    boilerplate,
    characters,
    chrf,
    cider_d,
    collapse,
    distinct_2,
    empty,
    exact_match,
    label_hit,
    language,
    refusal,
    repetition,
    rouge_l,
    tokens,
    truncated,
    words,
)
from ray_jobs.metrics.clip import similarity
from ray_jobs.metrics.field_metrics import build_field_metrics

BUILT_IN: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        characters.METRIC,
        words.METRIC,
        tokens.METRIC,
        empty.METRIC,
        truncated.METRIC,
        repetition.METRIC,
        distinct_2.METRIC,
        collapse.METRIC,
        refusal.METRIC,
        boilerplate.METRIC,
        language.METRIC,
        label_hit.METRIC,
        exact_match.METRIC,
        bleu4.METRIC,
        rouge_l.METRIC,
        cider_d.METRIC,
        chrf.METRIC,
    )
}


def build_metrics(spec: Spec) -> dict[str, Metric]:
    """Every metric of the run by name, in the order of the columns.

    The order is: built-in metrics, metrics of fields, the suite's own metrics, CLIP's metrics, the judge's metrics.
    Raises InputError for a metric file of the suite with a fault, and for a gating metric without a direction.
    """
    from ray_jobs.metrics import custom

    clip_metrics = {metric.name: metric for metric in similarity.METRICS if spec.clip}
    schema = spec.suite.caption.schema_of_fields
    field_metrics = build_field_metrics(schema, spec.suite.dataset.truth) if schema else {}
    reserved_names = (
        *RESERVED,
        *BUILT_IN,
        *(metric.name for metric in similarity.METRICS),
        *build_judge_metrics(spec.suite.judge),
        *field_metrics,
    )
    metrics = {
        **BUILT_IN,
        **field_metrics,
        **custom.load_metrics(spec.own_metrics, reserved_names),
        **clip_metrics,
        **build_judge_metrics(spec.suite.judge),
    }
    for name in spec.suite.gate.metrics:
        if name in metrics and not metrics[name].direction:
            raise InputError(f"gate.metrics: {name} has no direction, so nothing is worse; give its METRIC +1 or -1, "
                           "or set a limit")  # fmt: skip
    return metrics


def build_judge_metrics(judge: Judge) -> dict[str, Metric]:
    """The judge's metrics by name: `judge`, each criterion, and `preference`.

    `judge` is the share of criteria that hold, or a score from 1 to 5 when the judge has no criteria. `preference`
    compares with the baseline's caption: -1 when the baseline's caption is better, 0 for a tie, +1 when it is worse.
    """
    metrics = {}
    for name in judge.metrics():
        if name == "preference":
            metric = Metric(name, "preference", +1, (-1, 1))
        elif name == "judge":
            unit, value_range = ("share of criteria", (0, 1)) if judge.criteria else ("score, 1 to 5", (1, 5))
            metric = Metric(name, unit, +1, value_range)
        else:
            metric = Metric(name, "share of captions", +1, (0, 1), "share")
        metrics[name] = metric
    return metrics
