"""A checkpoint whose folder holds notes keeps the fingerprint under which the root has its runs.

Fingerprints once covered every .json and .txt file beside the model. Now they cover what is loaded, so that of a folder
with notes is another one, and everything would be captioned again. `plan` and the router therefore look whether the
root has runs under the former fingerprint and none under the new one. Judges and CLIP models are not looked for: their
scores are made anew, from captions that are kept.
"""

from ray_jobs.checkpoints import inspect as checkpoints
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.storage import objects


def keep_former(root: str, checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint, under its former fingerprint where the root has runs of that one only."""
    if has_runs(root, checkpoint):
        return checkpoint
    former = _by_former_rule(checkpoint)
    return former if former and has_runs(root, former) else checkpoint


def _by_former_rule(checkpoint: Checkpoint) -> Checkpoint | None:
    """The checkpoint as it was known before, None where that is no other."""
    base = checkpoint.base and _by_former_rule(checkpoint.base)
    known = base or checkpoint.base
    fingerprint = checkpoints.former_fingerprint(checkpoint.uri, known)
    if fingerprint is None and base:
        fingerprint = checkpoints.fingerprint(checkpoint.uri, base)
    return checkpoint.model_copy(update={"fingerprint": fingerprint, "base": known}) if fingerprint else None


def has_runs(root: str, checkpoint: Checkpoint) -> bool:
    """Whether the root has runs of the checkpoint under this fingerprint."""
    return next(objects.entries(f"{objects.absolute(root)}/runs/{checkpoint.folder}"), None) is not None
