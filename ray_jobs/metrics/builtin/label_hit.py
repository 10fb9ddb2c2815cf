"""Whether a caption names the image's label or a synonym: whole words, any case, singular or plural."""

import re
from collections.abc import Iterable
from functools import lru_cache

from ray_jobs.metrics import CaptionContext, Metric


def measure(caption: CaptionContext) -> float | None:
    """1 when the caption contains a name of the label as whole words, in any case, singular or plural, else 0.

    None without a label, or for a label that contains no word.
    """
    pattern = _compile_pattern(caption.names) if caption.label is not None else None
    return None if pattern is None else float(pattern.search(caption.text.casefold()) is not None)


def list_names(label: str, synonyms: Iterable[str] = ()) -> tuple[str, ...]:
    """The names in a label like ImageNet's `tench, Tinca tinca` or a folder's `fire_engine`, then the synonyms."""
    split = [name for text in (label, *synonyms) for name in text.split(",")]
    names = (" ".join(text_of_name.replace("_", " ").split()) for text_of_name in split)
    # A name without a word character, such as "-", would match every plural.
    return tuple(dict.fromkeys(name for name in names if re.search(r"\w", name)))


@lru_cache(2**14)
def _compile_pattern(names: tuple[str, ...]) -> re.Pattern[str] | None:
    patterns = [_build_name_pattern(name.casefold()) for name in names]
    return re.compile(rf"(?<!\w)(?:{'|'.join(patterns)})(?!\w)") if patterns else None


def _build_name_pattern(name: str) -> str:
    """A pattern for the name. Spaces and hyphens are equal. The last word may be in the singular or the plural."""
    *first, last = re.split(r"[\s-]+", name.strip("- ")) or [name]
    return r"[\s_-]+".join([*map(re.escape, first), _build_last_word_pattern(last)])


def _build_last_word_pattern(word: str) -> str:
    forms = {word, f"{word}s", f"{word}es"}
    if word.endswith("y"):
        forms.add(f"{word[:-1]}ies")
    if word.endswith("fe"):
        forms.add(f"{word[:-2]}ves")
    elif word.endswith("f"):
        forms.add(f"{word[:-1]}ves")
    if word.endswith("man"):
        forms.add(f"{word[:-3]}men")
    if word.endswith("s") and not word.endswith("ss") and len(word) > 3:
        forms.add(word[:-1])
    return "(?:" + "|".join(sorted(map(re.escape, forms), key=lambda form: (-len(form), form))) + ")"


METRIC = Metric("label_hit", "share of captions", +1, (0, 1), "share", "name", measure=measure)
