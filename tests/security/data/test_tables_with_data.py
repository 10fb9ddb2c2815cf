"""Tables that a suite names: they are read from the folder of the images, and from nowhere else."""

import json
from pathlib import Path

import pytest

from ray_jobs.inputs.errors import InputError
from ray_jobs.planning import suites
from ray_jobs.sources.cells.labels import read_label_names

NAMES = {"n01440764": "tench", "n01443537": "goldfish"}
SUITES = {
    "names of labels": "name: s\ndataset: {{source: '{source}', label: l, label_names: '{file}'}}",
    "synonyms": "name: s\ndataset: {{source: '{source}'}}\nmetrics: {{synonyms: '{file}'}}",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Suites, a data set with a table inside it, and tables that no suite may name."""
    for folder in ("suites", "imagenet/val/n01440764", "imagenet-secret", "shared"):
        (tmp_path / folder).mkdir(parents=True)
    for folder in ("imagenet", "imagenet/val", "imagenet-secret", "shared"):
        (tmp_path / folder / "names.json").write_text(json.dumps(NAMES))
    (tmp_path / "imagenet" / "leading.json").symlink_to(tmp_path / "shared" / "names.json")
    (tmp_path / "imagenet" / "inside.json").symlink_to("val/names.json")
    (tmp_path / "imagenet" / "environ.json").symlink_to("/proc/self/environ")
    (tmp_path / "imagenet" / "loop.json").symlink_to("loop.json")
    (tmp_path / "imagenet" / "train-0.tar").write_bytes(b"")
    monkeypatch.setenv("ASSAY_SUITES", str(tmp_path / "suites"))
    monkeypatch.delenv("ASSAY_SOURCES", raising=False)
    return tmp_path


def load(place: Path, kind: str, source: str, file: str) -> str | None:
    text = SUITES[kind].format(source=source.format(place), file=file.format(place))
    (place / "suites" / "s.yaml").write_text(text)
    suite = suites.load_suite("s")
    return suite.dataset.label_names if kind == "names of labels" else suite.metrics.synonyms


WITH_THE_DATA = {
    "in its folder": ("{}/imagenet", "{}/imagenet/names.json", "imagenet/names.json"),
    "in a folder of it": ("{}/imagenet", "{}/imagenet/val/names.json", "imagenet/val/names.json"),
    "relative to the suite": ("../imagenet", "../imagenet/names.json", "imagenet/names.json"),
    "by another way": ("{}/imagenet", "{}/imagenet/val/../names.json", "imagenet/names.json"),
    "as a URI": ("{}/imagenet", "file://{}/imagenet/names.json", "imagenet/names.json"),
    "a link within it": ("{}/imagenet", "{}/imagenet/inside.json", "imagenet/inside.json"),
    "beside a file": ("{}/imagenet/train-0.tar", "{}/imagenet/names.json", "imagenet/names.json"),
    "beside shards": ("{}/imagenet/train-{{0..0}}.tar", "{}/imagenet/names.json", "imagenet/names.json"),
}
ELSEWHERE = {
    "above it": ("{}/imagenet/val", "{}/imagenet/names.json"),
    "in a folder whose name begins alike": ("{}/imagenet", "{}/imagenet-secret/names.json"),
    "by a way out": ("{}/imagenet", "{}/imagenet/../shared/names.json"),
    "a link out of it": ("{}/imagenet", "{}/imagenet/leading.json"),
    "a link into the system": ("{}/imagenet", "{}/imagenet/environ.json"),
    "a link to itself": ("{}/imagenet", "{}/imagenet/loop.json"),
    "the folder itself": ("{}/imagenet", "{}/imagenet"),
    "the whole file system": ("/", "{}/shared/names.json"),
    "the whole file system by a way": ("{}/../../../../../../..", "{}/shared/names.json"),
    "the system": ("{}/imagenet", "/proc/self/environ"),
    "a data set on S3": ("s3://bucket/imagenet", "{}/imagenet/names.json"),
}


@pytest.mark.parametrize("kind", SUITES)
@pytest.mark.parametrize(("source", "file", "is_taken"), WITH_THE_DATA.values(), ids=WITH_THE_DATA.keys())
def test_a_table_with_the_data_is_taken(folder: Path, kind: str, source: str, file: str, is_taken: str) -> None:
    assert load(folder, kind, source, file) == str(folder / is_taken)


@pytest.mark.parametrize("kind", SUITES)
@pytest.mark.parametrize(("source", "file"), ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_a_table_elsewhere_is_refused_in_one_line(folder: Path, kind: str, source: str, file: str) -> None:
    with pytest.raises(InputError) as error:
        load(folder, kind, source, file)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("kind", SUITES)
def test_a_folder_that_the_deployment_names_may_hold_tables(
    folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = "{}/shared/names.json"
    with pytest.raises(InputError, match="below the data set's folder or one of ASSAY_SOURCES"):
        load(folder, kind, "s3://bucket/imagenet", file)
    monkeypatch.setenv("ASSAY_SOURCES", f"images.internal, {folder}/shared")
    assert load(folder, kind, "s3://bucket/imagenet", file) == str(folder / "shared/names.json")
    with pytest.raises(InputError, match="one of ASSAY_SOURCES"):
        load(folder, kind, "s3://bucket/imagenet", "{}/imagenet/names.json")


def test_the_names_of_a_mapping_beside_the_images_are_read(folder: Path) -> None:
    assert load(folder, "names of labels", "{}/imagenet/val", "{}/imagenet/val/names.json")
    assert read_label_names(suites.load_suite("s").dataset) == NAMES


def test_code_is_not_taken_from_beside_the_data(folder: Path) -> None:
    (folder / "imagenet" / "polite.py").write_text("METRIC = 3")
    (folder / "suites" / "s.yaml").write_text(
        f"name: s\ndataset: {{source: '{folder}/imagenet'}}\nmetrics: {{own: ['{folder}/imagenet/polite.py']}}"
    )
    with pytest.raises(InputError, match=r"put the file there$"):
        suites.load_suite("s")
