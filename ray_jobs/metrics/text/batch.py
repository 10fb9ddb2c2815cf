"""Hold a batch of captions and count the n-grams of their texts once, for all metrics that use n-grams.

The Ray tasks that score parts build a batch per part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ray_jobs.metrics.caption_context import CaptionContext
from ray_jobs.metrics.text.frequencies import EMPTY, Frequencies
from ray_jobs.metrics.text.ngrams import ORDERS, number_ngrams, number_texts
from ray_jobs.metrics.text.tokenise import number_terms


@dataclass(frozen=True)
class CorpusStats:
    """Counts over whole sets.

    `documents` counts the images whose references contain each n-gram. Its `total` is the number of images with
    references. `bigrams` and `texts` count how often each bigram and each whole text occurs in the captions.
    """

    documents: Frequencies = EMPTY
    bigrams: Frequencies = EMPTY
    texts: Frequencies = EMPTY


@dataclass(frozen=True)
class Grams:
    """The `distinct` n-grams with their `order` (0 for one word), and one entry per n-gram and text that contains it.

    Entries are sorted by image, then n-gram, then text. Texts are numbered image by image, the caption before the
    references. `starts` are the entries at which an image's next n-gram begins. `caption_times` is how often the
    caption of the entry's image contains the entry's n-gram.
    """

    distinct: np.ndarray
    order: np.ndarray
    image: np.ndarray
    gram: np.ndarray
    text: np.ndarray
    times: np.ndarray
    is_caption: np.ndarray
    starts: np.ndarray
    caption_times: np.ndarray


@dataclass(frozen=True)
class Batch:
    """The captions of a part, and the counts over the whole set that they belong to."""

    captions: Sequence[CaptionContext]
    corpus: CorpusStats = CorpusStats()

    @cached_property
    def texts(self) -> list[str]:
        return [text for caption in self.captions for text in (caption.text, *caption.references)]

    @cached_property
    def image(self) -> np.ndarray:
        """The index of the image that each text belongs to."""
        return np.repeat(np.arange(len(self.captions)), [1 + len(caption.references) for caption in self.captions])

    @cached_property
    def first(self) -> np.ndarray:
        """The index of the text that is each image's caption."""
        sizes = np.array([1 + len(caption.references) for caption in self.captions], np.int64)
        return np.cumsum(sizes) - sizes

    @cached_property
    def has_references(self) -> np.ndarray:
        return np.array([bool(caption.references) for caption in self.captions], bool)

    @cached_property
    def terms(self) -> tuple[np.ndarray, np.ndarray]:
        """(the terms of all texts, the number of terms of each text)."""
        return number_terms(self.texts)

    @cached_property
    def text_numbers(self) -> np.ndarray:
        """One number per caption, which is equal for captions with the same terms in the same order."""
        caption_numbers: np.ndarray = number_texts(*self.terms)[self.first]
        return caption_numbers

    @cached_property
    def grams(self) -> Grams:
        by_order = [number_ngrams(*self.terms, order) for order in range(1, ORDERS + 1)]
        numbers, text = (np.concatenate([entry[which] for entry in by_order]) for which in (0, 1))
        distinct, gram = np.unique(numbers, return_inverse=True)
        order = np.empty(len(distinct), np.int64)
        order[gram] = np.repeat(np.arange(ORDERS), [len(entry[0]) for entry in by_order])
        # Image, n-gram and text fit into 64 bits: a batch of 4096 images has 2^12, 2^20 and 2^15 of them.
        keys = (self.image[text] * len(distinct) + gram) * len(self.texts) + text
        key, times = np.unique(keys, return_counts=True)
        rest, text = np.divmod(key, max(len(self.texts), 1))
        image, gram = np.divmod(rest, max(len(distinct), 1))
        is_caption = text == self.first[image] if len(key) else np.zeros(0, bool)
        starts = np.flatnonzero(np.diff(rest, prepend=-1))
        times_at_starts = np.where(is_caption[starts], times[starts], 0)
        caption_times = np.repeat(times_at_starts, np.diff(starts, append=len(key)))
        return Grams(distinct, order, image, gram, text, times, is_caption, starts, caption_times)

    def by_image(self, values: np.ndarray, has_values: np.ndarray) -> list[float | None]:
        """The values of the images that have one, and None for the other images."""
        return [
            value if has_value else None for value, has_value in zip(values.tolist(), has_values.tolist(), strict=True)
        ]
