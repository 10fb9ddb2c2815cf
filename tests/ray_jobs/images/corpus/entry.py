"""The entry of a corpus file: how it is made, how it must end, and what it must show."""

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
    """One file of the corpus: the `repairs` of an accepted file, or the allowed `reasons` of a rejected one.

    An image that is kept must look like `shows`, resized: the mean absolute difference, in the worst channel, is under
    `within`.
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
    """One reason where users rely on it; several where libraries may diagnose the same damage differently."""
    assert reasons
    assert set(reasons) <= set(REASONS)
    return File(make, reasons=reasons)


def encode_image(image: Image.Image, form: str, **options: Any) -> bytes:
    """A file of the image. It encodes a copy, because Pillow's encoders leave their settings in the image."""
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
    """A file in which a stretch, between two shares of its length, was never written."""

    def make_zeroed() -> bytes:
        data = make()
        first, last = int(len(data) * begin), int(len(data) * end)
        return data[:first] + bytes(last - first) + data[last:]

    return make_zeroed
