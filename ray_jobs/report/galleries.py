"""Choose the images that the report shows: one of each kind of change, and more of each kind to unfold.

`report.page` calls this. A kind is the set of yes-or-no metrics that changed in an image.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from ray_jobs.report.examples import ImageExample, build_examples
from ray_jobs.report.headline import STATES, name_criterion
from ray_jobs.report.image_kinds import SEVERAL, ImageKinds, Kind, RankedImage
from ray_jobs.report.rank_images import ScanResult, Side

MAX_KINDS = 8  # the kinds that are shown
MAX_PARTS = 10  # parts that are read for the images of one gallery, because a part of the golden set has 128 MB
MAX_WORSE, MAX_BETTER = 60, 20  # the images of a gallery


@dataclass(frozen=True)
class ExampleGroup:
    """Images of one kind. The page folds all examples but the first `unfolded`.

    `title` is empty if the images are not grouped. `count` is the number of images of the kind.
    """

    title: str
    count: int
    unfolded: int
    examples: tuple[ImageExample, ...]


@dataclass(frozen=True)
class Gallery:
    """The groups of one direction, the largest first. `other_kinds` with `other_images` are not shown."""

    groups: tuple[ExampleGroup, ...] = ()
    other_kinds: int = 0
    other_images: int = 0


def build_gallery(
    golden_uri: str, sides: Sequence[Side], scan: ScanResult, sign: int, metrics: Sequence[str], criteria: Sequence[str]
) -> Gallery:
    """The images that got worse (`sign` -1) or better (+1), by kind. Ungrouped if no kind has a name."""
    kinds = scan.worse_kinds if sign < 0 else scan.better_kinds
    ranked = scan.worse if sign < 0 else scan.better
    if not any(kinds.counts):
        examples = build_examples(golden_uri, sides, ranked, metrics, criteria)
        return Gallery((ExampleGroup("", len(examples), len(examples), tuple(examples)),) if examples else ())
    listed = kinds.list_kinds()[:MAX_KINDS]
    chosen = choose_images(kinds, listed, MAX_WORSE if sign < 0 else MAX_BETTER)
    flat = [image for images in chosen.values() for image in images]
    large = {images[0].image_id for images in chosen.values()}
    built = iter(build_examples(golden_uri, sides, flat, metrics, criteria, large))
    groups = [
        ExampleGroup(_title_kind(kind, sign), kinds.counts[kind], 1, tuple(islice(built, len(images))))
        for kind, images in chosen.items()
    ]
    listed_images = sum(group.count for group in groups)
    return Gallery(tuple(groups), len(kinds.counts) - len(listed), kinds.counts.total() - listed_images)


def choose_images(kinds: ImageKinds, listed: Sequence[Kind], most: int) -> dict[Kind, list[RankedImage]]:
    """One image of each kind first, and then more of the largest kinds, from a few parts."""
    chosen = {kind: [kinds.images[kind][0]] for kind in listed}
    parts = {images[0].part for images in chosen.values()}
    for kind, image in _iterate_others(kinds, listed):
        if sum(map(len, chosen.values())) >= most:
            break
        if image.part in parts or len(parts) < MAX_PARTS:
            parts.add(image.part)
            chosen[kind].append(image)
    return chosen


def _iterate_others(kinds: ImageKinds, listed: Sequence[Kind]) -> Iterator[tuple[Kind, RankedImage]]:
    for kind in listed:
        for image in kinds.images[kind][1:]:
            yield kind, image


def _title_kind(kind: Kind, sign: int) -> str:
    """For example `background and shape wrong`."""
    if kind == SEVERAL:
        return f"three or more things {'wrong' if sign < 0 else 'right'}"
    if not kind:
        return "none of the yes-or-no metrics changed"
    names = " and ".join(name_criterion(criterion) for criterion in kind)
    if any(criterion in STATES for criterion in kind):
        return f"{names} {'worse' if sign < 0 else 'better'}"
    return f"{names} {'wrong' if sign < 0 else 'right'}"
