"""Hold a caption with everything that is known about its image. Every `measure` function gets a `CaptionContext`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class CaptionContext:
    """One caption and the facts about its image.

    `references` is empty when the data set has none for this image. `names` are the names of its label and the suite's
    synonyms. `language` is the language that the suite wants. In a suite with `caption.fields`, `fields` has the values
    of the answer by field name. `fields` is None when the answer does not fit the schema, and in a suite without
    `caption.fields`. `truth` has the right values that the data set has for this image. They have the same types.
    """

    text: str
    tokens: int
    finish_reason: str
    references: tuple[str, ...] = ()
    label: str | None = None
    names: tuple[str, ...] = ()
    language: str = "en"
    fields: Mapping[str, Any] | None = None
    truth: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def words(self) -> list[str]:
        """Runs of characters between white space, as written. N-gram metrics use the terms of `tokenise` instead."""
        return self.text.split()

    @cached_property
    def detected_language(self) -> str | None:
        """The ISO 639-1 code of the caption's language; None when py3langid cannot tell."""
        from ray_jobs.metrics.text.language_detection import detect_language

        return detect_language(self.text)

    @property
    def spoken(self) -> str | None:
        """`detected_language`, by its name in the metric files of earlier suites."""
        return self.detected_language
