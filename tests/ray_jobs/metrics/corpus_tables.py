"""Tables of captions in memory, by the functions that compute those on disk."""

import numpy as np

from ray_jobs.metrics.text import frequencies
from ray_jobs.metrics.text.batch import CorpusStats
from ray_jobs.metrics.text.frequencies import Frequencies
from ray_jobs.metrics.text.ngrams import number_ngrams, number_texts
from ray_jobs.metrics.text.tokenise import number_terms


def corpus_of_captions(texts: list[str]) -> CorpusStats:
    terms = number_terms(texts)
    bigrams, text_terms = number_ngrams(*terms, 2)[0], number_texts(*terms)
    return CorpusStats(bigrams=_table(bigrams), texts=_table(text_terms))


def _table(values: np.ndarray) -> Frequencies:
    return Frequencies(len(values), (frequencies.sum_counts([frequencies.count_numbers(values)], least=2),))
