"""The share of a caption's 4-grams that repeat an earlier one of the same caption (Welleck et al. 2020)."""

from ray_jobs.metrics import CaptionContext, Metric

N = 4


def measure(caption: CaptionContext) -> float:
    """The share of word 4-grams that repeat an earlier 4-gram, in [0, 1]; 0 for fewer than four words.

    seq-rep-4 of Welleck et al., Neural Text Generation with Unlikelihood Training (2020), equation 10.
    """
    words = caption.words
    grams = list(zip(*(words[i:] for i in range(N)), strict=False))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


METRIC = Metric("repetition", "share of 4-grams", -1, (0, 1), measure=measure)
