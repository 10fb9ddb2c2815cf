"""Loads what a query needs to know of a run: its record, and the parts of its scores, captions and golden set."""

from dataclasses import dataclass
from functools import lru_cache

from assay_airflow.ui.answers import refuse
from assay_airflow.ui.queries.part_files import PartFile, list_parts
from assay_airflow.ui.queries.records import load_record
from assay_airflow.ui.queries.run_facts import load_scores
from assay_airflow.ui.queries.run_names import GOLDEN, PART, RunName, read_root
from ray_jobs.contract.artifacts import Manifest, Record, Scores
from ray_jobs.contract.ids import digest
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import manifests, object_listing


@dataclass(frozen=True)
class RunParts:
    """A published run with the files that hold its rows. `identity` differs when the content differs."""

    run: RunName
    record: Record
    scores: tuple[PartFile, ...]
    captions: tuple[PartFile, ...]
    identity: str


def load_run_parts(run: RunName) -> RunParts:
    """Returns the parts that the verdict of a run rests on. Raises HTTPException 404, and InputError."""
    uri = run.uri(read_root())
    entry = object_listing.find_entry(f"{uri}/record.json")
    if entry is None:
        raise refuse(404, f"run {run}: no published run of that name")
    return _load_run_parts(run, uri, entry.version)


@lru_cache(maxsize=64)  # the scores of a million images have thousands of parts
def _load_run_parts(run: RunName, uri: str, _version: str) -> RunParts:
    record = load_record(run)
    scores = load_scores(record, uri)
    require_names(scores.manifest, run)
    if scores.run_id != record.run_id or not GOLDEN.fullmatch(scores.manifest.id):
        raise InputError(f"run {run}: its scores are of another run; evaluate and publish it again")
    parts = [(part.name, part.rows, part.blake3) for part in scores.manifest.parts]
    folder = manifests.parts_folder_of(scores.manifest)
    return RunParts(
        run,
        record,
        tuple(list_parts(f"{read_root()}/scores/{scores.manifest.id}", folder, parts)),
        tuple(list_parts(f"{read_root()}/captions/{record.caption_id}", _find_captions_folder(scores), parts)),
        digest(uri, record.caption_id, manifests.digest_parts(scores.manifest), _find_captions_folder(scores)),
    )


def load_golden(golden_id: str) -> Manifest:
    """Returns the manifest of a golden set. Raises HTTPException 404 when there is none."""
    uri = f"{read_root()}/golden/{golden_id}"
    entry = object_listing.find_entry(manifests.uri_of_manifest(uri))
    manifest = _load_golden(uri, entry.version) if entry else None
    if manifest is None:
        raise refuse(404, f"golden set {golden_id}: none of that name")
    return manifest


def list_golden_parts(golden_id: str, names: set[str]) -> list[PartFile]:
    """Returns the parts with these names, those alone that the manifest of the golden set names."""
    manifest = load_golden(golden_id)
    named = [(part.name, part.rows, part.blake3) for part in manifest.parts if part.name in names]
    return list_parts(f"{read_root()}/golden/{golden_id}", manifests.parts_folder_of(manifest), named)


@lru_cache(maxsize=4)
def _load_golden(uri: str, _version: str) -> Manifest | None:
    return manifests.load_manifest(uri)


def _find_captions_folder(scores: Scores) -> str:
    folder = manifests.parts_folder_of(scores.captions)
    if ".." in folder or folder.startswith("/"):
        raise InputError(f"scores {scores.run_id}: the folder of their captions leads out of the stage")
    return folder


def require_names(manifest: Manifest, run: RunName) -> None:
    """Raises InputError when a manifest names a part or a folder that would lead out of its stage."""
    folder = manifests.parts_folder_of(manifest)
    if ".." in folder or folder.startswith("/") or not all(PART.fullmatch(part.name) for part in manifest.parts):
        raise InputError(f"run {run}: a manifest names parts that are not Assay's; evaluate the run again")
