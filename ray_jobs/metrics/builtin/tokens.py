"""The length of a caption in the model's own tokens."""

from ray_jobs.metrics import UNBOUNDED, CaptionContext, Metric


def measure(caption: CaptionContext) -> float:
    """Tokens the model generated, the one that ends the caption included."""
    return caption.tokens


METRIC = Metric("tokens", "tokens", 0, (0, UNBOUNDED), measure=measure)
