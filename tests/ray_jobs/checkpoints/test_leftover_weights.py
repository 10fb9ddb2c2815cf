"""Captions of a checkpoint whose folder has files of an earlier save, by a weight swap and by an audit."""

import shutil
from pathlib import Path

import pytest
from ray_cluster import Cluster
from safetensors.torch import load_file, save_file
from stage_jobs import DEMO, GOOD, assert_stage_fails, plan_spec, read_captions, run_stage

from dev.trainer_folders import INDEX, SHARDS, write_single
from ray_jobs.contract.spec import Spec
from ray_jobs.storage import audits, manifests

pytestmark = pytest.mark.integration

OTHER = DEMO / "checkpoints" / "step-0200"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("leftovers")
    (folder / "images").mkdir()
    for scene in sorted((DEMO / "images" / "scenes").iterdir())[:12]:
        shutil.copy(scene, folder / "images")
    return folder


def save_over(folder: Path) -> Path:
    """`model.safetensors` of another checkpoint, in the folder of one whose shards are gone and whose index is not.

    With it a file of zeros that no index names, under names of its own, and notes.
    """
    shutil.copytree(GOOD, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    write_single(folder / "model.safetensors", OTHER)
    tensors = {f"ema.{name}": 0 * tensor for shard in SHARDS for name, tensor in load_file(GOOD / shard).items()}
    save_file(tensors, folder / "ema.safetensors")
    (folder / "results.json").write_text("{}")
    assert (folder / INDEX).exists()
    return folder


def captions(place: Path, model: Path) -> Spec:
    spec = plan_spec(place, str(place / "root"), str(model), str(place / "images"), engine={"keep_seconds": 300})
    run_stage("preprocess", spec)
    run_stage("caption", spec)
    return spec


def test_files_beside_the_weights_are_in_no_engine(folder: Path, on_cluster: Cluster) -> None:
    on_cluster.end_engines()
    good, expected = captions(folder, GOOD), captions(folder, OTHER)
    leftovers = captions(folder, save_over(folder / "step-1"))
    assert manifests.require_manifest(leftovers.captions_uri, "caption").weights_swapped
    assert read_captions(leftovers) == read_captions(expected)
    assert read_captions(leftovers) != read_captions(good)
    (folder / "step-1" / "results.json").write_text('{"accuracy": 1}')
    run_stage("audit", leftovers)
    audit = audits.read(leftovers.captions_uri)
    assert audit
    assert (audit.images, audit.equal) == (12, 12)
    on_cluster.end_engines()


@pytest.mark.parametrize(
    ("deleted", "message"),
    [
        (None, "checkpoint {model}: was deleted since this run was planned"),
        (SHARDS, f"checkpoint {{model}}: {SHARDS[0]} and 1 more were deleted since this run was planned"),
        (("preprocessor_config.json",), "checkpoint {model}: preprocessor_config.json was deleted since this run was"),
    ],
    ids=["all of it", "its weights", "its processor"],
)
def test_what_was_deleted_since_is_named(
    folder: Path, on_cluster: Cluster, tmp_path: Path, deleted: tuple[str, ...] | None, message: str
) -> None:
    model = tmp_path / "step-1"
    shutil.copytree(GOOD, model)
    spec = plan_spec(folder, str(tmp_path / "root"), str(model), str(folder / "images"))
    run_stage("preprocess", spec)
    for name in deleted or ():
        (model / name).unlink()
    if deleted is None:
        shutil.rmtree(model)
    assert_stage_fails("caption", spec, 2, message.format(model=model))
