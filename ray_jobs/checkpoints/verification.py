"""Check that the files at a checkpoint's URI are still those of the planned checkpoint.

The frame of each job, the engine's client and its actor call this module, because a trainer may overwrite or delete a
checkpoint after it was planned.
"""

from ray_jobs.checkpoints.errors import translates_errors
from ray_jobs.checkpoints.files import list_files
from ray_jobs.checkpoints.fingerprints import compute_fingerprint, compute_former_fingerprint, list_contents
from ray_jobs.checkpoints.weights import list_loaded
from ray_jobs.contract.ids import digest
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable


@translates_errors
def check_present(checkpoint: Checkpoint) -> None:
    """Raise InputError if a planned file is gone. Costs one listing, and opens no file."""
    if checkpoint.base:
        check_present(checkpoint.base)
    if checkpoint.files:
        present = {entry.key for entry in list_files(checkpoint.uri)}
        _refuse_deleted(checkpoint, [name for name, _ in checkpoint.files if name not in present])


@translates_errors
def verify(checkpoint: Checkpoint) -> None:
    """Raise InputError if the files at the URI are no longer those of the planned checkpoint."""
    if checkpoint.base:
        verify(checkpoint.base)
    if checkpoint.files:
        _compare_files(checkpoint)
    elif checkpoint.fingerprint not in _compute_fingerprints(checkpoint):
        raise InputError(
            f"checkpoint {checkpoint.uri}: overwritten since this run was planned; it is another checkpoint now: "
            "trigger a run for it"
        )


def _compare_files(checkpoint: Checkpoint) -> None:
    check_present(checkpoint)
    planned, uri = dict(checkpoint.files), checkpoint.uri
    entries = [entry for entry in list_files(uri) if entry.key in planned]
    current = {name: digest(size, version) for name, size, version in list_contents(uri, entries)}
    if changed := [name for name, content in current.items() if content != planned[name]]:
        raise InputError(
            f"checkpoint {uri}: {_describe_names(changed)} overwritten since this run was planned; it is another "
            "checkpoint now: trigger a run for it"
        )
    if added := [entry.key for entry in list_loaded(uri) if entry.key not in planned]:
        raise InputError(
            f"checkpoint {uri}: {_describe_names(added)} added since this run was planned; it is another checkpoint "
            "now: trigger a run for it"
        )


def _refuse_deleted(checkpoint: Checkpoint, deleted: list[str]) -> None:
    if deleted:
        subject = f"{_describe_names(deleted)} " if len(deleted) < len(checkpoint.files) else ""
        raise InputError(
            f"checkpoint {checkpoint.uri}: {subject or 'was '}deleted since this run was planned; keep checkpoints "
            "until they are validated (save_total_limit), then trigger a run"
        )


def _describe_names(names: list[str]) -> str:
    """Return the first name, the count of the other names, and the verb."""
    return f"{printable(names[0])} was" if len(names) == 1 else f"{printable(names[0])} and {len(names) - 1} more were"


def _compute_fingerprints(checkpoint: Checkpoint) -> set[str | None]:
    """Return the fingerprints of the files at the URI, by the present and by the former rule."""
    uri, base = checkpoint.uri, checkpoint.base
    return {compute_fingerprint(uri, base), compute_former_fingerprint(uri, base)}
