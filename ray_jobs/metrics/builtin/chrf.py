"""chrF2 against the closest reference: sacreBLEU's value."""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from ray_jobs.metrics import CaptionContext, Metric

if TYPE_CHECKING:
    from ray_jobs.metrics.text.batch import Batch

ORDERS, BETA_SQUARED = 6, 4


def measure_all(batch: "Batch") -> list[float | None]:
    """chrF2 of each caption in [0, 100] against the closest reference; None without references.

    Popović, chrF: character n-gram F-score for automatic MT evaluation (2015). The value equals sacreBLEU's value for a
    sentence. A few array operations count all n-grams of a batch, as exact codes of 63 bits. sacreBLEU scores an image
    whose characters do not fit into such a code. With five references per image, this function scores 6,900 captions
    per CPU second, and sacreBLEU 2,700 (`python -m benchmarks.chrf`). sacreBLEU alone would add 5 CPU minutes to the 11
    of 1.28 million captions.
    """
    with_references = [caption for caption in batch.captions if caption.references]
    scores = iter(_score_captions(with_references))
    return [next(scores) if caption.references else None for caption in batch.captions]


def _score_captions(captions: Sequence[CaptionContext]) -> list[float]:
    if not captions:
        return []
    values = _score_by_codes(captions)
    if values is not None:
        return values
    if len(captions) == 1:
        return [float(_scorer().sentence_score(captions[0].text, list(captions[0].references)).score)]
    half = len(captions) // 2
    return _score_captions(captions[:half]) + _score_captions(captions[half:])


def _score_by_codes(captions: Sequence[CaptionContext]) -> list[float] | None:
    """The scores; None when an n-gram, its image and its text do not fit into 63 bits together.

    A code is [image | characters | text]. Characters are numbered from 1. In sorted order, equal n-grams of one image
    are neighbours. The n-grams of the caption (text 0) come before the n-grams of the references.
    """
    import numpy as np

    texts = ["".join(text.split()) for caption in captions for text in (caption.text, *caption.references)]
    sizes = np.array([1 + len(caption.references) for caption in captions])
    lengths = np.array([len(text) for text in texts])
    characters = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), "<u4")
    alphabet = _rank_characters(characters)
    width, slots = int(alphabet.max(initial=1)).bit_length(), int(sizes.max() - 1).bit_length()
    if len(captions).bit_length() + ORDERS * width + slots > 63:
        return None
    image_of = np.repeat(np.arange(len(sizes)), sizes)
    slot_of = np.arange(len(texts)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    text = np.repeat(np.arange(len(texts)), lengths)
    characters_left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(characters))  # to the text's end
    fixed = (image_of[text] << (ORDERS * width + slots)) | slot_of[text]
    precision, recall, orders = (np.zeros(len(texts)) for _ in range(3))
    gram = np.zeros(len(characters), np.int64)
    first = np.repeat(np.cumsum(sizes) - sizes, sizes)
    for order in range(ORDERS):
        following = np.zeros_like(alphabet)
        following[: max(len(alphabet) - order, 0)] = alphabet[order:]
        gram = (gram << width) | following
        fits = characters_left > order
        key = np.sort(fixed[fits] | (gram[fits] << slots))
        matches = _count_matches(key, slots, ORDERS * width, first[slot_of == 0], len(texts))
        total = np.maximum(lengths - order, 0)
        both = (total > 0) & (total[first] > 0)
        precision[both] += matches[both] / total[first][both]
        recall[both] += matches[both] / total[both]
        orders += both
    precision, recall = precision / np.maximum(orders, 1), recall / np.maximum(orders, 1)
    scale = BETA_SQUARED * precision + recall
    score = np.divide((1 + BETA_SQUARED) * precision * recall, scale, out=np.zeros(len(texts)), where=scale > 0)
    score[first[slot_of == 0]] = 0  # do not compare a caption with itself
    best: list[float] = (100 * np.maximum.reduceat(score, first[slot_of == 0])).tolist()
    return best


def _count_matches(key: Any, slots: int, width: int, first: Any, texts: int) -> Any:
    """For each text, the number of n-grams that it shares with its image's caption.

    An n-gram counts as often as it occurs in the text or in the caption, whichever is fewer.
    """
    import numpy as np

    if not len(key):
        return np.zeros(texts)
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    times = np.diff(starts, append=len(key))
    key = key[starts]
    group, slot = key >> slots, key & ((1 << slots) - 1)
    begins = np.flatnonzero(np.diff(group, prepend=-1))
    caption_times = np.repeat(np.where(slot[begins] == 0, times[begins], 0), np.diff(begins, append=len(key)))
    text = first[group >> width] + slot
    return np.bincount(text, np.minimum(caption_times, times), texts)


def _rank_characters(characters: Any) -> Any:
    """A number per character, from 1, in the order of their code points."""
    import numpy as np

    if not len(characters):
        return np.zeros(0, np.int64)
    present = np.zeros(int(characters.max()) + 1, bool)
    present[characters] = True
    return np.cumsum(present)[characters]


@cache
def _scorer() -> Any:
    from sacrebleu.metrics import CHRF

    return CHRF()


METRIC = Metric("chrf", "chrF2", +1, (0, 100), needs="references", measure_all=measure_all)
