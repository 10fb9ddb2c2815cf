"""Recall: the share of the true items that the answer names. Precision: the share of the named items that are true."""

from collections import Counter
from functools import partial
from typing import Any

from ray_jobs.metrics import CaptionContext, Metric
from ray_jobs.metrics.builtin.field_match import fold


def recall(name: str, caption: CaptionContext) -> float | None:
    """The share of the true objects that the list names, in [0, 1]; None without a truth.

    Both lists are multisets: an object that occurs twice must be named twice. Case and extra space do not matter. The
    value is 1 when the truth is empty, and 0 for an answer that does not fit the schema.
    """
    if name not in caption.truth:
        return None
    if caption.fields is None:
        return 0.0
    _, true, right = _count_objects(caption, name)
    return right / true.total() if true else 1.0


def precision(name: str, caption: CaptionContext) -> float | None:
    """The share of the list that is true, in [0, 1]; None without a truth.

    For an empty list the value is 1 when the truth is empty too, else 0, so that an empty answer is not rewarded. The
    value is 0 for an answer that does not fit the schema. Recall and precision are those of information retrieval
    (Manning, Raghavan and Schütze 2008, Introduction to Information Retrieval, 8.3). The objects of one image are the
    relevant documents.
    """
    if name not in caption.truth:
        return None
    if caption.fields is None:
        return 0.0
    answered, true, right = _count_objects(caption, name)
    return right / answered.total() if answered else float(not true)


def _count_objects(caption: CaptionContext, name: str) -> tuple[Counter[Any], Counter[Any], int]:
    """(how often each object is in the list, how often in the truth, how many objects of the list are right)."""
    assert caption.fields is not None
    answered, true = (Counter(map(_label, values[name])) for values in (caption.fields, caption.truth))
    return answered, true, (answered & true).total()


def _label(item: Any) -> Any:
    return fold(item["label"] if isinstance(item, dict) else item)


def build_metrics(name: str) -> list[Metric]:
    """`field_{name}_recall` and `field_{name}_precision`."""
    shares = {"recall": ("share of true objects", recall), "precision": ("share of named objects", precision)}
    return [
        Metric(f"field_{name}_{kind}", unit, +1, (0, 1), needs="truth", measure=partial(measure, name), of=name)
        for kind, (unit, measure) in shares.items()
    ]
