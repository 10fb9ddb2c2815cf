"""Group the images that changed by what differs: by the yes-or-no metrics that changed in the same direction.

`rank_images` fills the groups part by part, and `page` shows one image of each. Memory does not grow with the number of
images: a group keeps its first images only, and all images in which three or more metrics changed are one group.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

SEVERAL = ("several",)  # the kind of an image in which three or more metrics changed
MAX_LISTED = 60  # the images that a group keeps
MAX_CRITERIA = 62  # the bits of an integer

Kind = tuple[str, ...]


class RankedImage(NamedTuple):
    """An image of a part, with how much better it is: `value` for the first metric, `tie_value` for the second one."""

    value: float
    tie_value: float
    image_id: str
    part: str


@dataclass
class ImageKinds:
    """Images that changed in one direction: `sign` is -1 for worse and +1 for better.

    `counts` has the number of images of each kind, and `images` the most changed of them. `criterion_counts` has the
    number of images in which each criterion changed in this direction too. There are at most `MAX_CRITERIA` criteria.
    """

    sign: int
    criteria: Sequence[str]
    counts: Counter[Kind] = field(default_factory=Counter)
    criterion_counts: Counter[str] = field(default_factory=Counter)
    images: dict[Kind, list[RankedImage]] = field(default_factory=dict)

    def add(self, image_at: Callable[[int], RankedImage], changes: np.ndarray) -> None:
        """Add a part's images, the most changed first.

        Args:
            image_at: Makes the image of a column of `changes`.
            changes: How much better each image is. It has a row per criterion and a column per image.
        """
        has_changed = changes * self.sign > 0
        self.criterion_counts.update(dict(zip(self.criteria, has_changed.sum(axis=1).tolist(), strict=True)))
        codes = (has_changed.astype(np.int64) << np.arange(len(self.criteria))[:, None]).sum(axis=0)
        codes[has_changed.sum(axis=0) > 2] = -1
        for code, count in zip(*(column.tolist() for column in np.unique(codes, return_counts=True)), strict=True):
            kind = self._decode_kind(code)
            first = [image_at(column) for column in np.flatnonzero(codes == code)[:MAX_LISTED].tolist()]
            self.counts[kind] += count
            self.images[kind] = sorted([*self.images.get(kind, []), *first], key=self._rank)[:MAX_LISTED]

    def list_kinds(self) -> list[Kind]:
        """The kinds, the largest first. Kinds of one size begin with the most changed image."""
        return sorted(self.counts, key=lambda kind: (-self.counts[kind], self._rank(self.images[kind][0])))

    def _rank(self, image: RankedImage) -> tuple[float, float, str]:
        return -self.sign * image.value, -self.sign * image.tie_value, image.image_id

    def _decode_kind(self, code: int) -> Kind:
        if code < 0:
            return SEVERAL
        return tuple(criterion for place, criterion in enumerate(self.criteria) if code >> place & 1)
