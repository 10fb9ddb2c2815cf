"""A suite by its name, its path or its URI, and the paths in it."""

from pathlib import Path

import pytest
from planning_place import Place

from ray_jobs.inputs.errors import InputError
from ray_jobs.planning import suites
from ray_jobs.storage import objects


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_suite_by_name(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_SUITES", str(place.folder))
    assert suites.load_suite("nightly").name == "nightly"
    with pytest.raises(InputError, match=r"suite 'nihgtly': not in .*; did you mean 'nightly'\?"):
        suites.load_suite("nihgtly")
    with pytest.raises(InputError, match=r"suite missing.yaml: no such file"):
        suites.load_suite("missing.yaml", by_hand=True)


def test_the_demo_suite_is_found_by_name() -> None:
    demo = suites.load_suite("demo")
    assert Path(demo.dataset.source).is_dir()
    assert demo.judge.model
    assert Path(demo.judge.model).name == "judge"


def test_relative_paths_are_relative_to_the_suite(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = place.checkpoint("judge")
    place.suite({"judge": {"kind": "vllm", "model": "models/judge"}})
    monkeypatch.chdir("/")
    suite = suites.load_suite(str(place.file), by_hand=True)
    assert (suite.dataset.source, suite.judge.model) == (str(place.images), judge)
    monkeypatch.chdir(place.folder)
    assert suites.load_suite("nightly.yaml", by_hand=True) == suite


def test_relative_patterns_and_names_of_labels_are_too(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    objects.write(f"{place.folder}/shards/train-0.tar", b"x")
    objects.write(f"{place.folder}/names.txt", b"x")
    place.suite({"dataset": {"source": "shards/train-{0..1}.tar", "label": "cls", "label_names": "names.txt"}})
    monkeypatch.chdir("/")
    dataset = suites.load_suite(str(place.file), by_hand=True).dataset
    assert dataset.source == f"{place.folder}/shards/train-{{0..1}}.tar"
    assert dataset.label_names == f"{place.folder}/names.txt"


def test_a_suite_on_s3(s3: str) -> None:
    objects.write(f"{s3}/suites/nightly.yaml", b"name: nightly\ndataset: {source: 's3://data/images'}")
    assert suites.load_suite(f"{s3}/suites/nightly.yaml", by_hand=True).dataset.source == "s3://data/images"
