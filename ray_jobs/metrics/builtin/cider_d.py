"""CIDEr-D against the references, as the COCO caption tools compute it for one image."""

from typing import TYPE_CHECKING

from ray_jobs.metrics import Metric

if TYPE_CHECKING:
    from ray_jobs.metrics.text.batch import Batch

SIGMA, SCALE = 6.0, 10.0


def measure_all(batch: "Batch") -> list[float | None]:
    """CIDEr-D of each caption, in [0, 10]; None without references.

    Vedantam et al., CIDEr (2015), equations 2 to 5, as cider_scorer.py of the COCO caption tools computes it: the
    length penalty compares numbers of bigrams, and sigma is 6. Document frequencies come only from the
    references of the golden set.
    """
    import numpy as np

    grams, images = batch.grams, len(batch.captions)
    if not images:
        return []
    rarity = np.log(max(batch.corpus.documents.total, 1)) - np.log(batch.corpus.documents.of(grams.distinct))
    weight = grams.times * rarity[grams.gram]
    cell, cells = grams.text * 4 + grams.order[grams.gram], len(batch.texts) * 4
    norm = np.sqrt(np.bincount(cell, weight**2, cells)).reshape(-1, 4)
    shared = np.where(grams.is_caption, 0.0, np.minimum(grams.caption_times * rarity[grams.gram], weight) * weight)
    product = np.bincount(cell, shared, cells).reshape(-1, 4)
    caption = batch.first[batch.image]
    scale = norm * norm[caption]
    cosine = np.divide(product, scale, out=np.zeros(scale.shape), where=scale != 0)
    bigrams = np.maximum(0, batch.terms[1] - 1)
    likeness = cosine.mean(axis=1) * np.exp(-((bigrams - bigrams[caption]) ** 2) / (2 * SIGMA**2))
    references = np.maximum(1, np.bincount(batch.image) - 1)
    score = SCALE * np.bincount(batch.image, likeness, images) / references
    return batch.by_image(score, batch.has_references)


METRIC = Metric("cider_d", "CIDEr-D", +1, (0, 10), needs="references", measure_all=measure_all)
