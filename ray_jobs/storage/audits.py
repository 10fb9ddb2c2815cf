"""Reads and writes `audit.json`, which lies beside the captions' manifest: the result of captioning a sample again.

The program `audit` writes the file in a job. The control plane asks whether captions have passed, or cannot be audited.
"""

from datetime import datetime
from typing import Self

from pydantic import model_validator

from ray_jobs.contract.frozen_model import FrozenModel
from ray_jobs.contract.spec import Checkpoint, Spec
from ray_jobs.contract.stored_model import NewerSchema, StoredModel
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import json_files, objects


class Difference(FrozenModel):
    """An image whose stored caption differs from the fresh engine's caption."""

    image_id: str
    """The image."""
    stored: str
    """The caption that was stored."""
    fresh: str
    """The caption of the fresh engine."""
    gap: float | None
    """How many nats less likely the fresh engine finds the stored token than its own, where the two captions part; null
    if the stored token was not among its likeliest."""


class Audit(StoredModel):
    """`audit.json`: captions of a sample, made again by a fresh engine and compared."""

    caption_id: str
    """The captions."""
    checkpoint: Checkpoint
    """The checkpoint that wrote them."""
    images: int = 0
    """The images that were captioned again."""
    equal: int = 0
    """The images with the same caption."""
    ties: int = 0
    """The images whose captions part at two tokens that are equally likely, to within the `tolerance`."""
    differing: int = 0
    """The images whose captions differ."""
    worst_gap: float | None = None
    """The largest gap, ties included, in nats."""
    tolerance: float | None = None
    """The gap up to which two tokens count as equally likely, in nats."""
    differences: tuple[Difference, ...] = ()
    """The first of the differing images."""
    not_audited: str | None = None
    """Why nothing was compared."""
    dtype: str = ""
    """The arithmetic of the fresh engine."""
    seconds: dict[str, float] = {}
    """The seconds of each step."""
    versions: dict[str, str] = {}
    """The versions of the libraries of the fresh engine."""
    created_at: datetime
    """When the audit was written."""

    @model_validator(mode="after")
    def _check_sums(self) -> Self:
        if self.images != self.equal + self.ties + self.differing:
            raise ValueError(f"{self.images} audited, {self.equal} equal, {self.ties} ties, {self.differing} differ")
        return self


def uri_of(captions_uri: str) -> str:
    """Returns the URI of the audit of these captions."""
    return f"{captions_uri}/audit.json"


def read(captions_uri: str) -> Audit | None:
    """Returns the audit of these captions, None if there is none. Raises InputError for an unreadable file."""
    uri = uri_of(captions_uri)
    try:
        return json_files.load(Audit, uri)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InputError(f"{uri}: not an audit ({type(error).__name__}); delete it and audit again") from None


def commit(captions_uri: str, audit: Audit) -> Audit:
    """Write the audit if there is none. Returns the audit that is stored afterwards."""
    if objects.create(uri_of(captions_uri), audit.model_dump_json(indent=1).encode()):
        return audit
    return read(captions_uri) or audit


def has_passed(captions_uri: str) -> bool:
    """Whether the captions were audited and none differs. Raises NewerSchema for the audit of a newer Assay."""
    try:
        audit = read(captions_uri)
    except NewerSchema:
        raise
    except InputError:
        return False
    return audit is not None and audit.not_audited is None and not audit.differing


def why_impossible(spec: Spec) -> str | None:
    """Returns why the spec's captions cannot be audited, None if they can."""
    if not spec.suite.engine.audit:
        return "engine.audit is 0"
    if spec.suite.caption.temperature:
        return (
            f"temperature {spec.suite.caption.temperature:g}: captions that are drawn may differ, and nothing is wrong"
        )
    return None
