"""Mean intersection over union of the answer's boxes with the true ones; boxes of one label are matched.

A box is x1, y1, x2, y2: the left, upper, right and lower edge, counted from the image's upper left corner. Intersection
over union is the same in every unit, and Assay does not convert units. So answer and truth must have the same unit.
Unless a schema gives other bounds, the unit is a thousandth of the image's width or height (0 to 1000).
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any

from ray_jobs.metrics import CaptionContext, Metric
from ray_jobs.metrics.builtin.field_match import fold

Box = Sequence[float]


def measure(name: str, caption: CaptionContext) -> float | None:
    """The mean intersection over union of the image's boxes, in [0, 1]; None without a truth.

    Boxes of one label are matched one to one, so that the sum of their intersections over union is largest (Kuhn 1955,
    the Hungarian method). Boxes that do not overlap are not matched. The mean is over the matched pairs and the
    unmatched boxes of both sides. Each unmatched box counts as 0. The value is 1 when neither side has a box, and 0 for
    an answer that does not fit the schema.
    """
    if name not in caption.truth:
        return None
    if caption.fields is None:
        return 0.0
    answered, true = (_group_by_label(values[name]) for values in (caption.fields, caption.truth))
    total, places = 0.0, 0
    for label in answered.keys() | true.keys():
        pairs = _match(answered[label], true[label])
        total += sum(pairs)
        places += len(answered[label]) + len(true[label]) - len(pairs)
    return min(total / places, 1.0) if places else 1.0


def intersection_over_union(first: Box, second: Box) -> float:
    """The area that both boxes cover, as a share of the area that at least one covers.

    For two boxes without area the value is 1 when they are equal, else 0.
    """
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0.0) * max(height, 0.0)
    either = _area(first) + _area(second) - shared
    return shared / either if either > 0 else float(list(first) == list(second))


def _match(answered: list[Box], true: list[Box]) -> list[float]:
    """The intersections over union of the matched pairs. None of them is 0."""
    if not answered or not true:
        return []
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    overlaps = np.array([[intersection_over_union(box, true_box) for true_box in true] for box in answered])
    overlaps_of_pairs: list[float] = overlaps[linear_sum_assignment(overlaps, maximize=True)].tolist()
    return [overlap for overlap in overlaps_of_pairs if overlap > 0]


def _group_by_label(value: Any) -> dict[Any, list[Box]]:
    """The boxes of a field by label. The label is None when the field is a box or a list of boxes."""
    boxes: dict[Any, list[Box]] = defaultdict(list)
    alone = bool(value) and not isinstance(value[0], dict | list | tuple)
    for item in [value] if alone else value:
        if isinstance(item, dict):
            boxes[fold(item["label"])].append(item["box"])
        else:
            boxes[None].append(item)
    return boxes


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def build_metrics(name: str) -> list[Metric]:
    """`field_{name}_iou`."""
    unit = "mean intersection over union"
    mean = partial(measure, name)
    return [Metric(f"field_{name}_iou", unit, +1, (0, 1), needs="truth", measure=mean, of=name)]
