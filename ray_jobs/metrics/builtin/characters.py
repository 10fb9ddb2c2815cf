"""The length of a caption in characters."""

from ray_jobs.metrics import UNBOUNDED, CaptionContext, Metric


def measure(caption: CaptionContext) -> float:
    """Unicode code points, surrounding white space left out."""
    return len(caption.text.strip())


METRIC = Metric("characters", "characters", 0, (0, UNBOUNDED), measure=measure)
