"""Whether a field equals its right value; case and extra space do not matter."""

from functools import partial
from typing import Any

from ray_jobs.metrics import CaptionContext, Metric


def measure(name: str, caption: CaptionContext) -> float | None:
    """1 when the field equals the truth, else 0; None without a truth.

    An answer that does not fit the schema has 0. Case, space at the ends and repeated space within do not matter.
    """
    if name not in caption.truth:
        return None
    if caption.fields is None:
        return 0.0
    return float(fold(caption.fields[name]) == fold(caption.truth[name]))


def fold(value: Any) -> Any:
    """A text in lower case with single spaces; a list with folded items; any other value unchanged."""
    if isinstance(value, str):
        return " ".join(value.casefold().split())
    return [fold(item) for item in value] if isinstance(value, list) else value


def build_metrics(name: str) -> list[Metric]:
    """`field_{name}`."""
    share = partial(measure, name)
    return [Metric(f"field_{name}", "share of images", +1, (0, 1), "share", "truth", measure=share, of=name)]
