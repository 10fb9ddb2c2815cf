"""Whether an answer fits the schema of the suite's fields."""

from ray_jobs.metrics import CaptionContext, Metric


def measure(caption: CaptionContext) -> float:
    """1 when the answer has every field and every field fits its schema, else 0.

    Examples of 0 are an answer that was cut off, a number out of range, and a box that is upside down.
    """
    return float(caption.fields is not None)


METRICS = (Metric("fields_valid", "share of answers", +1, (0, 1), "share", measure=measure),)
