"""The section `metrics` of a suite: metrics beyond the built-in ones, and their inputs."""

from typing import Annotated, ClassVar

from pydantic import Field

from ray_jobs.contract.suite_section import SuiteSection


class Metrics(SuiteSection):
    """The metrics of a caption beyond the built-in ones."""

    IDENTIFYING: ClassVar = frozenset(("language",))
    ELSEWHERE: ClassVar = {
        "synonyms": "the spec holds its content",
        "own": "the spec holds its source code",
        "clip": "the fingerprint of the model counts",
    }

    language: str = Field("en", pattern=r"^[a-z]{2}$")
    """The language that captions should be in, as a code of ISO 639-1."""
    synonyms: str | None = None
    """A JSON file with further names of each label."""
    own: tuple[Annotated[str, Field(pattern=r"(^|/)[a-z][a-z0-9_]*\.py$")], ...] = ()
    """Python files beside the suite, each with a metric that is named like the file."""
    clip: str | None = None
    """The URI of a CLIP model, for `clipscore` and `refclipscore`."""

    def names(self) -> tuple[str, ...]:
        """Returns the names of the metrics that this suite adds to the built-in ones."""
        clip = ("clipscore", "refclipscore") if self.clip else ()
        return (*clip, *(file.rpartition("/")[2].removesuffix(".py") for file in self.own))
