"""The declaration of a metric. A metric file holds `METRIC = Metric(...)`."""

import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ray_jobs.metrics.caption_context import CaptionContext

if TYPE_CHECKING:
    from ray_jobs.metrics.text.batch import Batch

UNBOUNDED = float("inf")
NEEDS = ("nothing", "references", "label", "name", "text", "fields", "truth")


@dataclass(frozen=True)
class Metric:
    """One metric's declaration. It gives either `measure`, a caption's value, or `measure_all`, a batch's at once.

    `direction` says whether more is better (+1), worse (-1) or neither (0); no value lies outside `range`. `kind` is
    the error bar: `mean` has Student's t, `share` (values 0 and 1) Wilson's. An image lacks what the metric `needs`: it
    is not expected to have a value. A `name` is a label that holds a word; whether there is enough `text` only the
    metric can tell: of a caption that it gives no value, none is expected. `fields` are needed of an answer that fits,
    and one that does not fit lacks its value; `truth` is the right value of the field that the metric is `of`, or of
    any field. `order` is how many captions a value is of:
    2 where it compares a caption with each other one, so that every caption counts in all values. Metrics of models,
    which are measured in a stage of their own, give neither.
    """

    name: str
    unit: str
    direction: Literal[-1, 0, 1]
    range: tuple[float, float]
    kind: Literal["mean", "share"] = "mean"
    needs: Literal["nothing", "references", "label", "name", "text", "fields", "truth"] = "nothing"
    measure: Callable[[CaptionContext], float | None] | None = None
    measure_all: "Callable[[Batch], Sequence[float | None]] | None" = None
    order: int = 1
    of: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.unit, str):
            raise ValueError(f"unit must be a text, not {self.unit!r}")
        if self.direction not in (-1, 0, 1):
            raise ValueError(f"direction must be +1, -1 or 0, not {self.direction!r}")
        if not (isinstance(self.range, tuple) and len(self.range) == 2 and all(map(_is_end, self.range))):
            raise ValueError(f"range must be two numbers, (low, high), not {self.range!r:.40}")
        if not self.range[0] < self.range[1]:
            raise ValueError(f"range must be (low, high), not {self.range!r}")
        if self.kind not in ("mean", "share"):
            raise ValueError(f"kind must be 'mean' or 'share', not {self.kind!r}")
        if self.kind == "share" and self.range != (0, 1):
            raise ValueError("the range of a share is (0, 1)")
        if self.order not in (1, 2):
            raise ValueError(f"order must be 1 or 2, not {self.order!r}")
        if self.needs not in NEEDS:
            raise ValueError(f"needs must be one of {', '.join(NEEDS)}, not {self.needs!r}")

    def holds(self, has: "CaptionContext") -> bool:
        """Whether a caption has what the metric needs."""
        held = {
            "references": bool(has.references),
            "label": has.label is not None,
            "name": bool(has.names),
            "fields": has.fields is not None,
            "truth": self.has_truth(has.truth),
        }
        return held.get(self.needs, True)

    def has_truth(self, truth: Collection[str]) -> bool:
        """Whether these fields, whose truth is known, have the one that the metric is of, or any."""
        return self.of in truth if self.of else bool(truth)


def _is_end(value: object) -> bool:
    """Whether it can end a range: a number that a float can hold, or an infinity."""
    return isinstance(value, (int, float)) and (abs(value) <= sys.float_info.max or abs(value) == UNBOUNDED)
