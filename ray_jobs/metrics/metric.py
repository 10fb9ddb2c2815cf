"""Declare a metric. A metric file holds `METRIC = Metric(...)`."""

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
    """The declaration of one metric.

    A metric gives either `measure`, which returns the value of one caption, or `measure_all`, which returns the values
    of a batch. Metrics of models (CLIP, the judge) give neither, because other stages measure them.

    - `direction` says whether more is better (+1), worse (-1) or neither (0).
    - No value lies outside `range`.
    - `kind` chooses the error bar: Student's t for `mean`, Wilson's interval for `share` (values 0 and 1).
    - `needs` says which images should have a value. An image that lacks what the metric needs is not expected to have
      one. A `name` is a label that holds a word. Only the metric itself can tell whether there is enough `text`: a
      caption without a value is then not expected to have one. With `fields`, an answer that does not fit the schema
      counts as a missing value. `truth` is the right value of the field `of`, or of any field when `of` is empty.
    - `order` is the number of captions that one value is computed from. It is 2 when the metric compares a caption
      with every other caption, so that every caption counts in all values.
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

    def has_inputs(self, caption: "CaptionContext") -> bool:
        """True if the caption has everything that the metric needs."""
        present = {
            "references": bool(caption.references),
            "label": caption.label is not None,
            "name": bool(caption.names),
            "fields": caption.fields is not None,
            "truth": self.has_truth(caption.truth),
        }
        return present.get(self.needs, True)

    def has_truth(self, truth: Collection[str]) -> bool:
        """True if `truth`, the fields with a known truth, has the metric's field. Without `of`, any field is enough."""
        return self.of in truth if self.of else bool(truth)


def _is_end(value: object) -> bool:
    """True if the value can be the end of a range: a number that a float can hold, or an infinity."""
    return isinstance(value, (int, float)) and (abs(value) <= sys.float_info.max or abs(value) == UNBOUNDED)
