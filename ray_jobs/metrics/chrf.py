"""Character n-gram F-score against the references."""

from functools import cache

from sacrebleu.metrics import CHRF

from ray_jobs.metrics import Captioned


def chrf(caption: Captioned) -> float | None:
    """chrF2 in [0, 100] against the closest reference; None without references.

    Popović, chrF: character n-gram F-score for automatic MT evaluation (2015), as sacreBLEU computes a sentence.
    """
    if not caption.references:
        return None
    return float(_scorer().sentence_score(caption.text, list(caption.references)).score)


@cache
def _scorer() -> CHRF:
    return CHRF()
