"""Tables of captions in memory, by the functions that make those on disk."""

import numpy as np

from ray_jobs.metrics.text import frequencies
from ray_jobs.metrics.text.batch import Corpus
from ray_jobs.metrics.text.frequencies import Frequencies
from ray_jobs.metrics.text.ngrams import ngrams, of_texts
from ray_jobs.metrics.text.tokenise import numbers


def corpus_of_captions(texts: list[str]) -> Corpus:
    terms = numbers(texts)
    bigrams, whole = ngrams(*terms, 2)[0], of_texts(*terms)
    return Corpus(bigrams=_table(bigrams), texts=_table(whole))


def _table(found: np.ndarray) -> Frequencies:
    return Frequencies(len(found), (frequencies.sum_counts([frequencies.count_numbers(found)], least=2),))
