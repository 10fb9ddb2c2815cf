"""Which files of a folder belong to a data set and to a split, by their names."""

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_formats import PICTURES, list_refs

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.dataset.revision import source_revision
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import object_listing, objects


@pytest.mark.parametrize(
    "classes", [("train", "car"), ("bullet_train", "test_tube"), ("valley", "trainer", "tester")], ids=str
)
def test_classes_that_are_named_almost_like_splits_are_classes(tmp_path: Path, classes: tuple[str, ...]) -> None:
    for name in classes:
        objects.write(str(tmp_path / name / "a.png"), PICTURES[0])
    dataset = Dataset(source=str(tmp_path), label="kind")
    assert source_revision(dataset)
    assert sorted(str(image.label) for image in list_refs(dataset)) == sorted(classes)


def test_notes_of_data_tools_count_for_the_revision_as_they_always_did(tmp_path: Path) -> None:
    contents = {"_SUCCESS": b"", "_committed_1": b"{}", "a.parquet": b"rows"}
    for name, content in contents.items():
        objects.write(f"{tmp_path}/{name}", content)
    lines = [
        f"{json.dumps([entry.key, entry.size, entry.version])}\n"
        for entry in object_listing.iterate_entries(str(tmp_path))
    ]
    assert len(lines) == 3
    # as the first release hashed them: with another revision every image is prepared and captioned again
    former = hashlib.sha256("".join(lines).encode()).hexdigest()[:16]
    assert source_revision(Dataset(source=str(tmp_path))) == former


def test_images_that_cameras_and_archives_name_with_underscores(tmp_path: Path) -> None:
    for name in ("_DSC0001.jpg", "_cat/a.png", "__MACOSX/a.png", "__MACOSX/._a.png"):
        objects.write(f"{tmp_path}/{name}", PICTURES[0])
    assert [image.image_id for image in list_refs(Dataset(source=str(tmp_path)))] == ["_DSC0001.jpg", "_cat/a.png"]


@pytest.mark.parametrize("folder", ["images/train", "train/images"])
def test_folders_of_detection_data_are_splits(tmp_path: Path, folder: str) -> None:
    for name in (folder, folder.replace("train", "val")):
        objects.write(f"{tmp_path}/{name}/a.png", PICTURES[0])
        objects.write(f"{tmp_path}/{name.replace('images', 'labels')}/a.txt", b"0 0.5 0.5 1 1")
    refs = list_refs(Dataset(source=str(tmp_path), split="train"))
    assert [image.image_id for image in refs] == [f"{folder}/a.png"]
    if folder == "images/train":
        with pytest.raises(InputError, match="are of the splits train, val in images/"):
            list_refs(Dataset(source=str(tmp_path)))


def test_two_snapshots_of_a_repository_are_not_mixed(tmp_path: Path) -> None:
    for sha in ("a" * 40, "b" * 40):
        place = tmp_path / "snapshots" / sha / "data"
        place.mkdir(parents=True)
        pq.write_table(pa.table({"image": PICTURES[:1]}), place / "val-00000-of-00001.parquet")
        if sha[0] == "a":
            assert len(list_refs(Dataset(source=str(tmp_path), split="val"))) == 1
    with pytest.raises(
        InputError, match=rf"several snapshots of a repository .*`source: {tmp_path}/snapshots/a{{40}}`"
    ):
        list_refs(Dataset(source=str(tmp_path), split="val"))
