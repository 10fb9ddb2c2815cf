"""The length of a caption in words, which white space separates."""

from ray_jobs.metrics import UNBOUNDED, CaptionContext, Metric


def measure(caption: CaptionContext) -> float:
    """The number of runs of characters between white space."""
    return len(caption.words)


METRIC = Metric("words", "words", 0, (0, UNBOUNDED), measure=measure)
