"""Whether an answer fits the schema of the suite's fields."""

from ray_jobs.metrics import CaptionContext, Metric


def measure(caption: CaptionContext) -> float:
    """1 when every field of the answer is there and as its schema says, else 0: cut off, out of range, a box upside
    down."""
    return float(caption.fields is not None)


METRICS = (Metric("fields_valid", "share of answers", +1, (0, 1), "share", measure=measure),)
