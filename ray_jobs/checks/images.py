"""List a suite's images and prepare some of them, as the job `preprocess` does.

`checks.run` calls this. It lists in the process for sources, and decodes in the decoder's process, as the job does.
"""

import re
from collections import Counter
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.golden.build_part import prepare_row
from ray_jobs.golden.decoder_process import Decoder, Outcome
from ray_jobs.golden.sample import open_sample
from ray_jobs.golden.single_images import read_rows
from ray_jobs.golden.source_process import run_in_source_process
from ray_jobs.sources.listing.bounds import limit_listing
from ray_jobs.sources.open_source import open_source
from ray_jobs.sources.source import ImageRef, Source, SourceImage

MAX_LABELS = 20  # that the page shows
SPLIT = re.compile(r"(?:^|[/_.-])(train|training|val|valid|validation|dev|test)(?=[/_.-]|\d|$)", re.IGNORECASE)
SAME_SPLIT = {"training": "train", "valid": "validation", "val": "validation", "dev": "validation"}


@dataclass(frozen=True)
class Listing:
    """The images that a data set lists.

    `image_count` counts all images, and `sample_count` those of the sample. The check prepares the `chosen` images of
    the sample. `labels` has the most frequent labels of the sample with their counts. `splits` counts the splits that
    the images' names contain. Some sources give labels and references only with the image; `labelled_count` and
    `referenced_count` are then 0.
    """

    image_count: int
    sample_count: int
    megabytes: float
    labels: tuple[tuple[str, int], ...]
    distinct_labels: int
    labelled_count: int
    referenced_count: int
    references: tuple[tuple[int, int], ...]
    splits: tuple[tuple[str, int], ...]
    chosen: tuple[ImageRef, ...]


@dataclass(frozen=True)
class SampleImage:
    """One image as the jobs would use it: its row of the source, and its golden image or the reason of its reject."""

    row: SourceImage
    image: Outcome


def list_images(dataset: Dataset, most: int) -> tuple[Listing, Source]:
    """Returns the listing, with at most `most` chosen images, and its source. Raises InputError and RetryableError."""
    return run_in_source_process(f"dataset {dataset.source}", _list_in_process, dataset, most)


def prepare_images(source: Source, chosen: tuple[ImageRef, ...], settings: Preprocess) -> list[SampleImage]:
    """Returns the chosen images after the decoder's process has read and prepared them."""
    decoder = Decoder(settings)
    try:
        with TemporaryDirectory(prefix="assay-rows-") as folder:
            rows = read_rows(decoder, source, chosen, folder)
            return [
                SampleImage(replace(row, data=None, file=None), decoder.prepare_with_retry(prepare_row, row))
                for row in rows
            ]
    finally:
        decoder.close()


def _list_in_process(dataset: Dataset, most: int) -> tuple[Listing, Source]:
    source = open_source(dataset)
    labels, references, splits = Counter[str](), Counter[int](), Counter[str]()
    chosen: list[ImageRef] = []
    with open_sample(dataset) as sample:
        image_count = sample.draw(limit_listing(dataset.source, source.list_images()))
        sample_count, size = sample.total()
        for position, image in enumerate(sample):
            if image.label is not None:
                labels[image.label] += 1
            references[len(image.references)] += 1
            if split := _split_of(image):
                splits[split] += 1
            if position * most // max(sample_count, most) >= len(chosen) and len(chosen) < most:
                chosen.append(image)
    listing = Listing(
        image_count=image_count,
        sample_count=sample_count,
        megabytes=size / 1e6,
        labels=tuple(labels.most_common(MAX_LABELS)),
        distinct_labels=len(labels),
        labelled_count=labels.total(),
        referenced_count=sample_count - references[0],
        references=tuple(sorted(references.items())),
        splits=tuple(splits.most_common()),
        chosen=tuple(chosen),
    )
    return listing, source


def _split_of(image: ImageRef) -> str | None:
    """Returns the split that the image's id or path contains; None if they contain none."""
    match = SPLIT.search(image.image_id) or SPLIT.search(image.where[:500])
    word = match[1].lower() if match else None
    return SAME_SPLIT.get(word, word) if word else None
