"""BLEU-4 against the references, as the COCO caption tools compute it for one image."""

from typing import TYPE_CHECKING

from ray_jobs.metrics import Metric

if TYPE_CHECKING:
    from ray_jobs.metrics.text.batch import Batch

EPSILON, TINY_EPSILON = 1e-9, 1e-15  # the reference implementation's: an order without a match does not make BLEU 0


def measure_all(batch: "Batch") -> list[float | None]:
    """BLEU-4 of each caption as one sentence, in [0, 1]; None without references.

    The brevity penalty uses the reference with the closest length. Papineni et al., BLEU (2002), as bleu_scorer.py of
    the COCO caption tools computes it.
    """
    import numpy as np

    grams, images = batch.grams, len(batch.captions)
    if not images:
        return []
    in_reference = np.where(grams.is_caption, 0, grams.times)
    most = np.maximum.reduceat(in_reference, grams.starts) if len(grams.starts) else in_reference
    group = grams.image[grams.starts] * 4 + grams.order[grams.gram[grams.starts]]
    correct = np.bincount(group, np.minimum(most, grams.caption_times[grams.starts]), images * 4).reshape(images, 4)
    lengths = batch.terms[1]
    caption_lengths = lengths[batch.first]
    guesses = np.maximum(0, caption_lengths[:, None] - np.arange(4))
    spans = zip(batch.captions, batch.first.tolist(), caption_lengths.tolist(), strict=True)
    closest = np.array(
        [
            _find_closest_length(lengths[start + 1 : start + 1 + len(caption.references)].tolist(), caption_length)
            for caption, start, caption_length in spans
        ]
    )
    score = np.prod((correct + TINY_EPSILON) / (guesses + EPSILON), axis=1) ** 0.25
    ratio = (caption_lengths + TINY_EPSILON) / (closest + EPSILON)
    score *= np.where(ratio < 1, np.exp(1 - 1 / ratio), 1)
    return batch.by_image(score, batch.has_references)


def _find_closest_length(lengths: list[int], caption_length: int) -> int:
    """The reference length closest to the caption's length, the shorter of two equally close; 0 without references."""
    return min(lengths, key=lambda length: (abs(length - caption_length), length), default=0)


METRIC = Metric("bleu4", "BLEU-4", +1, (0, 1), needs="references", measure_all=measure_all)
