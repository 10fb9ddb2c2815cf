"""A caption with everything that is known about its image: what a metric is given."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class CaptionContext:
    """One caption with what is known about its image.

    `references` is empty when the data set has none for this image; `names` are those of its label, with the suite's
    synonyms; `language` is the one that the suite wants captions in. `fields` are the values of a suite with
    `caption.fields`, by name: None where the answer does not fit the schema, and in a suite without. `truth` are the
    right ones that the data set has for this image, of the same types.
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
        """Runs of characters between white space, as written; for what n-gram metrics compare see `tokenise`."""
        return self.text.split()

    @cached_property
    def spoken(self) -> str | None:
        """The code of the language that it is written in, None where there is too little to tell by."""
        from ray_jobs.metrics.text.language_detection import spoken

        return spoken(self.text)
