"""Whether a field equals its right value; case and extra space do not matter."""

from functools import partial
from typing import Any

from ray_jobs.metrics import CaptionContext, Metric


def measure(name: str, caption: CaptionContext) -> float | None:
    """1 when the field equals the truth, else 0, also for an answer that does not fit; None without a truth.

    Texts are compared without regard to case, and to space at their ends or more than one within.
    """
    if name not in caption.truth:
        return None
    if caption.fields is None:
        return 0.0
    return float(fold(caption.fields[name]) == fold(caption.truth[name]))


def fold(value: Any) -> Any:
    """A text in lower case with single spaces, a list with such texts; any other value as it is."""
    if isinstance(value, str):
        return " ".join(value.casefold().split())
    return [fold(item) for item in value] if isinstance(value, list) else value


def metrics_of(name: str) -> list[Metric]:
    """`field_{name}`."""
    share = partial(measure, name)
    return [Metric(f"field_{name}", "share of images", +1, (0, 1), "share", "truth", measure=share, of=name)]
