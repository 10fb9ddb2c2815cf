"""ROUGE-L against the references, as the COCO caption tools compute it for one image."""

from typing import TYPE_CHECKING

from ray_jobs.metrics import Metric

if TYPE_CHECKING:
    from ray_jobs.metrics.text.batch import Batch

BETA = 1.2
NO_WORD = 0  # the COCO caption tools split an empty text into one empty word


def measure_all(batch: "Batch") -> list[float | None]:
    """ROUGE-L of each caption, in [0, 1]; None without references.

    The value combines the best precision over the references with the best recall over the references. Lin and Hovey,
    ROUGE (2004), with beta 1.2 as rouge.py of the COCO caption tools computes it.
    """
    from rapidfuzz.distance import LCSseq

    terms, lengths = batch.terms
    ends = lengths.cumsum()
    words = [
        flat or [NO_WORD]
        for flat in (terms[end - length : end].tolist() for end, length in zip(ends, lengths, strict=True))
    ]
    scores: list[float | None] = []
    for caption, start in zip(batch.captions, batch.first.tolist(), strict=True):
        if not caption.references:
            scores.append(None)
            continue
        caption_words = words[start]
        reference_words = words[start + 1 : start + 1 + len(caption.references)]
        common = [LCSseq.similarity(caption_words, reference) for reference in reference_words]
        precision = max(common) / len(caption_words)
        recall = max(shared / len(reference) for shared, reference in zip(common, reference_words, strict=True))
        both = recall + BETA**2 * precision
        scores.append((1 + BETA**2) * precision * recall / both if both else 0.0)
    return scores


METRIC = Metric("rouge_l", "ROUGE-L", +1, (0, 1), needs="references", measure_all=measure_all)
