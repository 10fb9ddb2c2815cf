"""Audits in storage: what became of captions that a fresh engine made anew. `audit.json` lies beside their manifest."""

from datetime import datetime
from typing import Self

from pydantic import model_validator

from ray_jobs.contract.spec import Checkpoint, Spec
from ray_jobs.contract.stored_model import NewerSchema, StoredModel
from ray_jobs.contract.suite import FrozenModel
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import json_files, objects


class Difference(FrozenModel):
    """An image of which the two engines say different things. `gap`: how many nats less likely than its own token the
    fresh engine found the stored one where they part, None when it was not among the likeliest."""

    image_id: str
    stored: str
    fresh: str
    gap: float | None


class Audit(StoredModel):
    """`ties` are captions that part where the two tokens were as likely, to within the `tolerance` (nats).

    `worst_gap` is the largest gap there is, ties included; `differences` are the first of those that `differing`
    counts. `not_audited` says why nothing was compared.
    """

    caption_id: str
    checkpoint: Checkpoint
    images: int = 0
    equal: int = 0
    ties: int = 0
    differing: int = 0
    worst_gap: float | None = None
    tolerance: float | None = None
    differences: tuple[Difference, ...] = ()
    not_audited: str | None = None
    dtype: str = ""
    seconds: dict[str, float] = {}
    versions: dict[str, str] = {}
    created_at: datetime

    @model_validator(mode="after")
    def _nothing_is_silently_lost(self) -> Self:
        if self.images != self.equal + self.ties + self.differing:
            raise ValueError(f"{self.images} audited, {self.equal} equal, {self.ties} ties, {self.differing} differ")
        return self


def uri_of(captions_uri: str) -> str:
    return f"{captions_uri}/audit.json"


def read(captions_uri: str) -> Audit | None:
    """The audit of these captions, None where there is none. Raises InputError for one that is not readable."""
    uri = uri_of(captions_uri)
    try:
        return json_files.load(Audit, uri)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InputError(f"{uri}: not an audit ({type(error).__name__}); delete it and audit again") from None


def commit(captions_uri: str, made: Audit) -> Audit:
    """Write the audit if there is none: the one that stands."""
    if objects.create(uri_of(captions_uri), made.model_dump_json(indent=1).encode()):
        return made
    return read(captions_uri) or made


def passed(captions_uri: str) -> bool:
    """Whether the captions were audited and nothing was found. Raises NewerSchema for the audit of a newer Assay."""
    try:
        found = read(captions_uri)
    except NewerSchema:
        raise
    except InputError:
        return False
    return found is not None and found.not_audited is None and not found.differing


def impossible(spec: Spec) -> str | None:
    """Why captions of the spec cannot be audited, None when they can."""
    if not spec.suite.engine.audit:
        return "engine.audit is 0"
    if spec.suite.caption.temperature:
        return (
            f"temperature {spec.suite.caption.temperature:g}: captions that are drawn may differ, and nothing is wrong"
        )
    return None
