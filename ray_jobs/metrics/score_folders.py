"""Find the folder for the scores of a set of captions, next to the current scores.

The driver of `evaluate` calls this. A folder's name contains the digest of the captions. So new captions cannot mix
with older scores, and a driver that starts after a kill continues in the folder of the killed driver. Invariant: once a
stage has a manifest, the folder that the manifest names does not change.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count

from ray_jobs.contract.artifacts import Manifest
from ray_jobs.contract.ids import request_folder
from ray_jobs.contract.spec import Spec
from ray_jobs.metrics.score_part import has_judge_failure, has_new_judgements
from ray_jobs.storage import manifests, object_listing, objects

THREADS = 16  # the threads wait for storage most of the time
COPIED_FOLDERS = ("clip/", "frequencies/", "parts/")


@dataclass(frozen=True)
class ScoreFolder:
    """A folder below the stage; "" for the stage itself.

    `manifest` is the folder's manifest when its scores are complete. `earlier_folder` is the folder with older scores
    of the same captions when the judge has new answers about these captions.
    """

    folder: str
    manifest: Manifest | None = None
    earlier_folder: str | None = None


def find_score_folder(spec: Spec, caption_id: str, captions_digest: str) -> ScoreFolder:
    """The folder that has the scores of these captions, or the folder to write them to.

    `captions_digest` is the digest of the captions' parts.
    """
    stage = spec.scores_stage_of(caption_id)
    forced = spec.force if caption_id == spec.caption_id else None
    current, earlier = manifests.load_manifest(stage), None
    if not forced and current and current.details.get("captions") == captions_digest:
        folder = manifests.stage_folder_of(current)
        if not _has_new_judgements(spec, caption_id, folder, current):
            return ScoreFolder(folder, current)
        earlier = folder
    elif not forced and not current and _claim_stage(stage, captions_digest):
        return ScoreFolder("")
    for folder in number_folders(f"{request_folder(forced)}/{captions_digest}" if forced else f"of/{captions_digest}"):
        existing = manifests.load_manifest(f"{stage}/{folder}")
        if existing is None or not _has_new_judgements(spec, caption_id, folder, existing):
            return ScoreFolder(folder, existing, earlier)
        earlier = folder
    raise AssertionError("count() does not end")


def number_folders(first: str) -> Iterator[str]:
    """The first folder and its successors, because each attempt has its own folder."""
    return (first if number == 1 else f"{first}-{number}" for number in count(1))


def copy_scores(source: str, target: str) -> None:
    """Copy earlier scores of the same captions. The parts with new judgements are then scored again in the copy."""
    keys = [
        entry.key
        for entry in object_listing.iterate_entries(source)
        if entry.key.startswith(COPIED_FOLDERS) and "/runs/" not in entry.key
    ]
    with ThreadPoolExecutor(THREADS) as pool:
        tables = "frequencies/tables.json"  # copied last, because this file says that the tables are complete
        copy = lambda key: objects.create(f"{target}/{key}", objects.read(f"{source}/{key}"))  # noqa: E731
        list(pool.map(copy, [key for key in keys if key != tables]))
        list(pool.map(copy, [key for key in keys if key == tables]))


def _claim_stage(stage: str, captions_digest: str) -> bool:
    """True if the stage itself is for these captions. The first caller writes a marker that names the captions."""
    marker = f"{stage}/forced-{captions_digest}"
    if next(iter(object_listing.iterate_entries(stage)), None) is None:
        objects.write(marker, b"")
        return True
    return objects.exists(marker)


def _has_new_judgements(spec: Spec, caption_id: str, folder: str, scores: Manifest) -> bool:
    """True if the judge has new answers about images at which it had failed in these scores."""
    folder_spec = spec.with_folders({caption_id: folder})
    failing = [part.name for part in scores.parts if has_judge_failure(part.lost)]
    with ThreadPoolExecutor(THREADS) as pool:
        return any(pool.map(lambda name: has_new_judgements(folder_spec, caption_id, name), failing))
