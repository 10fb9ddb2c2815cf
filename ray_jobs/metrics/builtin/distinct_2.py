"""For each bigram, 1 / its occurrences in all captions; the mean over all bigrams is distinct-2 (Li et al. 2016)."""

from typing import TYPE_CHECKING

from ray_jobs.metrics import Metric

if TYPE_CHECKING:
    from ray_jobs.metrics.text.batch import Batch


def measure_all(batch: "Batch") -> list[float | None]:
    """For each caption, the mean over its bigrams of 1 / occurrences of the bigram in all captions of the set.

    The mean over captions, weighted by their number of bigrams, is distinct bigrams / all bigrams. This is distinct-2
    of Li et al., A Diversity-Promoting Objective Function for Neural Conversation Models (2016). The value is in
    [0, 1]. It is 1 when no bigram occurs twice, and None for a caption with fewer than two words. The value falls as
    the set grows, so compare only sets of the same size.

    One caption changes the values of other captions. So the error of a plain mean is too small, by a fifth when few
    bigrams repeat. Order 2 doubles the error, which is too large. So this metric errs on the side of INCONCLUSIVE.
    """
    import numpy as np

    grams, images = batch.grams, len(batch.captions)
    is_bigram = grams.is_caption & (grams.order[grams.gram] == 1)
    share = 1 / batch.corpus.bigrams.of(grams.distinct)
    image, times = grams.image[is_bigram], grams.times[is_bigram]
    bigrams = np.bincount(image, times, images)
    distinct = np.bincount(image, times * share[grams.gram[is_bigram]], images)
    return batch.by_image(distinct / np.maximum(bigrams, 1), bigrams > 0)


METRIC = Metric("distinct_2", "distinct share of bigrams", +1, (0, 1), needs="text", measure_all=measure_all, order=2)
