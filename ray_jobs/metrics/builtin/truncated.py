"""Whether a caption was cut off at `caption.max_tokens`."""

from ray_jobs.metrics import CaptionContext, Metric


def measure(caption: CaptionContext) -> float:
    """1 when the caption was cut at the token limit, 0 when the model ended the caption."""
    return float(caption.finish_reason == "length")


METRIC = Metric("truncated", "share of captions", -1, (0, 1), "share", measure=measure)
