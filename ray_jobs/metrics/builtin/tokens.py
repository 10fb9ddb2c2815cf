"""The length of a caption in the model's own tokens."""

from ray_jobs.metrics import UNBOUNDED, CaptionContext, Metric


def measure(caption: CaptionContext) -> float:
    """The number of tokens that the model generated, including the token that ends the caption."""
    return caption.tokens


METRIC = Metric("tokens", "tokens", 0, (0, UNBOUNDED), measure=measure)
