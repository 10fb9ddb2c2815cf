"""Detect the language of a text with py3langid."""

import re
from functools import cache
from typing import Any

from ray_jobs.inputs.errors import InputError, suggest

MIN_BYTES, MIN_PROBABILITY = 16, 0.5
LETTERS = re.compile(r"[^\W\d_]+")
MAX_CHARACTERS = 2000  # longer texts are cut


def detect_language(text: str) -> str | None:
    """The ISO 639-1 code of the text's language by py3langid; None when py3langid cannot tell.

    py3langid compares n-grams of bytes, and takes "two dogs" for Polish. So a text with fewer than 16 bytes of letters
    (16 Latin letters, six Chinese characters) has no language. A language must also be at least as likely as all other
    languages together.
    """
    text = text[:MAX_CHARACTERS]
    if len("".join(LETTERS.findall(text)).encode("utf-8", "surrogatepass")) < MIN_BYTES:
        return None
    language, probability = _identifier().classify(text)
    return language if probability >= MIN_PROBABILITY else None


def check_language(language: str) -> None:
    """Raise InputError for a language that py3langid does not know. Every caption would be in another language."""
    known = _identifier().labels
    if language not in known:
        raise InputError(f"metrics.language {language!r}: not told from others{suggest(language, sorted(known))}")


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
