"""The length of a caption in characters."""

from ray_jobs.metrics import UNBOUNDED, CaptionContext, Metric


def measure(caption: CaptionContext) -> float:
    """The number of Unicode code points, without white space at the ends."""
    return len(caption.text.strip())


METRIC = Metric("characters", "characters", 0, (0, UNBOUNDED), measure=measure)
