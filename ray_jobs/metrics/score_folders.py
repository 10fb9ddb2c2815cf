"""Find the folder in which scores of a set of captions are made, beside the scores that stand.

The driver of `evaluate` calls this. A folder's name says of which captions its scores are, so captions that were made
anew cannot mix with older scores, and a try after a kill goes on in the folder of the try before. Invariant: once a
stage has a manifest, nothing in the folder that the manifest names changes any more.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count

from ray_jobs.contract.artifacts import Manifest
from ray_jobs.contract.ids import forced_folder
from ray_jobs.contract.spec import Spec
from ray_jobs.metrics.score_part import has_judge_failure, has_new_judgements
from ray_jobs.storage import objects, parts

THREADS = 16  # most of their time is waiting for storage
COPIED_FOLDERS = ("clip/", "frequencies/", "parts/")


@dataclass(frozen=True)
class ScoreFolder:
    """A folder below the stage, "" for the stage itself; `made`: the manifest of what is complete there. `earlier`: the
    folder with scores of the same captions in which the judge has answered since."""

    folder: str
    made: Manifest | None = None
    earlier: str | None = None


def find_score_folder(spec: Spec, caption_id: str, made_of: str) -> ScoreFolder:
    """Where these captions' scores are, or are to be made. `made_of` is the digest of the captions' parts."""
    stage = spec.scores_stage_of(caption_id)
    forced = spec.force if caption_id == spec.caption_id else None
    standing, earlier = parts.manifest(stage), None
    if not forced and standing and standing.details.get("captions") == made_of:
        folder = parts.place_of(standing)
        if not _has_new_judgements(spec, caption_id, folder, standing):
            return ScoreFolder(folder, standing)
        earlier = folder
    elif not forced and not standing and _claim_stage(stage, made_of):
        return ScoreFolder("")
    for folder in number_folders(f"{forced_folder(forced)}/{made_of}" if forced else f"of/{made_of}"):
        made = parts.manifest(f"{stage}/{folder}")
        if made is None or not _has_new_judgements(spec, caption_id, folder, made):
            return ScoreFolder(folder, made, earlier)
        earlier = folder
    raise AssertionError("count() does not end")


def number_folders(first: str) -> Iterator[str]:
    """The folder and those after it: each attempt has one of its own."""
    return (first if number == 1 else f"{first}-{number}" for number in count(1))


def copy_scores(source: str, target: str) -> None:
    """Copy what earlier scores of the same captions hold; the parts that the judge has answered since are then made
    again in the copy."""
    keys = [
        entry.key
        for entry in objects.entries(source)
        if entry.key.startswith(COPIED_FOLDERS) and "/runs/" not in entry.key
    ]
    with ThreadPoolExecutor(THREADS) as pool:
        tables = "frequencies/tables.json"  # says that the tables are complete, so it comes last
        copy = lambda key: objects.create(f"{target}/{key}", objects.read(f"{source}/{key}"))  # noqa: E731
        list(pool.map(copy, [key for key in keys if key != tables]))
        list(pool.map(copy, [key for key in keys if key == tables]))


def _claim_stage(stage: str, made_of: str) -> bool:
    """Whether the stage itself is for these captions: a marker there says so, which whoever comes first writes."""
    marker = f"{stage}/forced-{made_of}"
    if next(iter(objects.entries(stage)), None) is None:
        objects.write(marker, b"")
        return True
    return objects.exists(marker)


def _has_new_judgements(spec: Spec, caption_id: str, folder: str, scores: Manifest) -> bool:
    """Whether the judge has answered since about images of these scores that it had failed at."""
    placed = spec.with_folders({caption_id: folder})
    failing = [part.name for part in scores.parts if has_judge_failure(part.lost)]
    with ThreadPoolExecutor(THREADS) as pool:
        return any(pool.map(lambda name: has_new_judgements(placed, caption_id, name), failing))
