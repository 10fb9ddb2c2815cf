"""Find the former fingerprint of a checkpoint if the root has its runs under that fingerprint.

Fingerprints once covered every .json and .txt file beside the model. Now they cover the loaded files only. A folder
with notes therefore has a new fingerprint, and all its images would be captioned again. So `plan` and the router check
whether the root has runs under the former fingerprint and none under the new one. Judges and CLIP models are not
checked, because their scores are computed again from captions that are kept.
"""

from typing import Any

from ray_jobs.checkpoints import fingerprints
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.storage import object_listing, uris


def find_former_fingerprint(root: str, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the former `fingerprint` and `base` of the checkpoint if the root has runs under these only, else {}."""
    if has_runs(root, checkpoint):
        return {}
    former = _by_former_rule(checkpoint)
    return {"fingerprint": former.fingerprint, "base": former.base} if former and has_runs(root, former) else {}


def _by_former_rule(checkpoint: Checkpoint) -> Checkpoint | None:
    """Return the checkpoint with its former fingerprint and base, or None if the former fingerprint is the same."""
    base = checkpoint.base and _by_former_rule(checkpoint.base)
    known_base = base or checkpoint.base
    fingerprint = fingerprints.compute_former_fingerprint(checkpoint.uri, known_base)
    if fingerprint is None and base:
        fingerprint = fingerprints.compute_fingerprint(checkpoint.uri, base)
    return checkpoint.model_copy(update={"fingerprint": fingerprint, "base": known_base}) if fingerprint else None


def has_runs(root: str, checkpoint: Checkpoint) -> bool:
    """True if the root has runs of the checkpoint under its present fingerprint."""
    return (
        next(object_listing.iterate_entries(f"{uris.make_absolute(root)}/runs/{checkpoint.folder}"), None) is not None
    )
