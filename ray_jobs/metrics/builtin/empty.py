"""Whether a caption has only white space."""

from ray_jobs.metrics import CaptionContext, Metric


def measure(caption: CaptionContext) -> float:
    """1 when the caption has only white space or no character, else 0."""
    return float(not caption.text.strip())


METRIC = Metric("empty", "share of captions", -1, (0, 1), "share", measure=measure)
