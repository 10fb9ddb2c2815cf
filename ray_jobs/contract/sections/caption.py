"""The section `caption` of a suite: the prompt, the sampling, and the fields of an answer."""

import hashlib
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from ray_jobs.contract.field_schema import complete_schema
from ray_jobs.contract.suite_section import SuiteSection
from ray_jobs.inputs.names import printable


def _complete_fields(raw: Any) -> dict[str, Any] | str | None:
    if raw is None:
        return None
    if isinstance(raw, str):
        if not raw.lower().endswith(".json"):
            raise ValueError(f"{printable(raw, 60)!r} must be a .json file beside the suite, or the schema itself")
        return raw
    return complete_schema(raw)


class Caption(SuiteSection):
    """What the model is asked about each image.

    `plan` replaces the name of a file in `fields` by the file's content. Every property of the schema becomes a column
    beside the caption.
    """

    IDENTIFYING: ClassVar = frozenset(("prompt", "max_tokens", "temperature", "seed"))

    prompt: str = "Describe the image in one sentence."
    """What the model is asked about each image. The chat template adds the image and the marks of the turns."""
    max_tokens: int = Field(64, gt=0)
    """The longest caption, in tokens."""
    temperature: float = Field(0.0, ge=0)
    """0 is greedy decoding. Above 0, captions are sampled, and the nightly audit is skipped."""
    seed: int = 0
    """The seed of sampling. Each image gets its own seed from it."""
    fields: Annotated[dict[str, Any] | str | None, BeforeValidator(_complete_fields)] = None
    """A JSON schema, or a .json file beside the suite with one. Each answer is then a JSON object that fits it."""

    @property
    def schema_of_fields(self) -> dict[str, Any] | None:
        """The complete schema of the fields. None without fields, and as long as `fields` is the name of a file."""
        return self.fields if isinstance(self.fields, dict) else None

    @property
    def field_names(self) -> tuple[str, ...]:
        """The names of the fields in the order of the answer. `caption` may be among them."""
        return tuple((self.schema_of_fields or {}).get("properties", ()))

    def seed_of(self, image_id: str) -> int:
        """Returns 31 bits, different for each image. With one seed for all images, their errors would be alike."""
        return int.from_bytes(hashlib.sha256(f"{self.seed}/{image_id}".encode()).digest()[:4]) >> 1
