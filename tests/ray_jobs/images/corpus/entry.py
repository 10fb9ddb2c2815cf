"""What is written down of a file of the corpus: how it is made, how it must end, and what it must show."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image

from ray_jobs.images.reject_reasons import REASONS, Reason

Make = Callable[[], bytes]
Picture = Callable[[], Image.Image]


@dataclass(frozen=True)
class File:
    """`repairs` of a file that is kept, the allowed `reasons` of one that is rejected.

    What is kept must look like `shows`, resized: the mean absolute difference, in the worst channel, is under `within`.
    """

    make: Make
    repairs: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    shows: Picture | None = None
    within: float = 0.0

    def expected(self) -> dict[str, Any]:
        if self.reasons:
            return {"outcome": "rejected", "reasons": list(self.reasons)}
        return {"outcome": "kept", "repairs": list(self.repairs)}


def expect_kept(make: Make, *repairs: str, shows: Picture | None, within: float = 3.0) -> File:
    return File(make, repairs, shows=shows, within=within)


def expect_rejected(make: Make, *reasons: Reason) -> File:
    """One reason where a user would count on it; more where libraries may see the same damage from two sides."""
    assert reasons
    assert set(reasons) <= set(REASONS)
    return File(make, reasons=reasons)


def encode_image(image: Image.Image, form: str, **options: Any) -> bytes:
    """A file of the image; made of a copy, since Pillow's encoders leave their settings behind in what they save."""
    sink = io.BytesIO()
    image.copy().save(sink, form, **options)
    return sink.getvalue()


def truncate(make: Make, share: float) -> Make:
    """The beginning of a file."""

    def make_start() -> bytes:
        data = make()
        return data[: int(len(data) * share)]

    return make_start


def zero_out(make: Make, begin: float, end: float) -> Make:
    """A file of which a stretch, from one share of its length to another, was never written."""

    def make_zeroed() -> bytes:
        data = make()
        first, last = int(len(data) * begin), int(len(data) * end)
        return data[:first] + bytes(last - first) + data[last:]

    return make_zeroed
