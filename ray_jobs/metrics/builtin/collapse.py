"""The share of the other captions that have the same words as this caption."""

from typing import TYPE_CHECKING

from ray_jobs.metrics import Metric

if TYPE_CHECKING:
    from ray_jobs.metrics.text.batch import Batch


def measure_all(batch: "Batch") -> list[float | None]:
    """For each caption, the share of the other captions of the set with exactly the same words, in [0, 1].

    Case, spacing and punctuation do not matter. None when there is no other caption.
    """
    import numpy as np

    texts = batch.corpus.texts
    if texts.total < 2:
        return [None] * len(batch.captions)
    order = np.argsort(batch.text_numbers)
    same = np.empty(len(order))
    same[order] = texts.of(batch.text_numbers[order])
    shares: list[float | None] = ((same - 1) / (texts.total - 1)).tolist()
    return shares


METRIC = Metric("collapse", "share of other captions", -1, (0, 1), measure_all=measure_all, order=2)
