"""Tables of captions in memory, by the functions that make those on disk."""

import numpy as np

from ray_jobs.metrics.text import frequencies
from ray_jobs.metrics.text.batch import CorpusStats
from ray_jobs.metrics.text.frequencies import Frequencies
from ray_jobs.metrics.text.ngrams import number_ngrams, number_texts
from ray_jobs.metrics.text.tokenise import number_terms


def corpus_of_captions(texts: list[str]) -> CorpusStats:
    terms = number_terms(texts)
    bigrams, whole = number_ngrams(*terms, 2)[0], number_texts(*terms)
    return CorpusStats(bigrams=_table(bigrams), texts=_table(whole))


def _table(found: np.ndarray) -> Frequencies:
    return Frequencies(len(found), (frequencies.sum_counts([frequencies.count_numbers(found)], least=2),))
