import datetime
from pathlib import Path
from typing import Any

import datasets
import pytest
from image_formats import (
    PICTURES,
    huggingface,
    huggingface_of_splits,
    list_refs,
    make_dataset,
    make_settings,
    read_bytes,
    read_refs,
    write_images,
)

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.inputs.errors import InputError
from ray_jobs.sources.open_source import open_source


def test_splits_must_be_named(tmp_path: Path) -> None:
    huggingface_of_splits(tmp_path / "data")
    with pytest.raises(InputError, match="name its `split`: train, val"):
        list_refs(Dataset(source=str(tmp_path / "data")))
    with pytest.raises(InputError, match=r"no split 'vall'; did you mean 'val'\?"):
        list_refs(Dataset(source=str(tmp_path / "data"), split="vall"))


def test_a_folder_that_is_no_saved_dataset(tmp_path: Path) -> None:
    write_images(tmp_path / "data")
    with pytest.raises(InputError, match="cannot be loaded"):
        list_refs(Dataset(source=str(tmp_path / "data"), format="huggingface"))


def test_class_labels_have_names_and_ids_and_are_listed_only_for_strata(tmp_path: Path) -> None:
    settings = huggingface(tmp_path / "data")
    rows = read_refs(make_settings(settings, label="kind"))
    assert [(row.label, row.label_id) for row in rows][:3] == [("even", "0"), ("odd", "1"), ("even", "0")]
    assert {ref.label for ref in list_refs(make_settings(settings, label="kind"))} == {None}
    strata = list_refs(make_settings(settings, label="kind", stratify=True, limit=2))
    assert [ref.label for ref in strata][:3] == ["0", "1", "0"]


def test_sizes_are_estimates_and_ids_are_indices(tmp_path: Path) -> None:
    refs = list_refs(make_settings(huggingface(tmp_path / "data")))
    assert [ref.image_id for ref in refs][:2] == ["00000000", "00000001"]
    assert all(0.5 < ref.size / len(PICTURES[0]) < 1.5 for ref in refs)


def test_a_dataset_saved_with_a_format_of_its_own_is_read_as_it_is(tmp_path: Path) -> None:
    make_dataset().with_format("pandas").save_to_disk(tmp_path / "data")
    assert [row.data for row in read_refs(Dataset(source=str(tmp_path / "data")))] == PICTURES


def test_pickled_it_leaves_the_mapped_files_behind(tmp_path: Path) -> None:
    source = open_source(make_settings(huggingface(tmp_path / "data")))
    list(source.list_images())
    assert source.__getstate__() == {"dataset": source.dataset, "_loaded": None}  # type: ignore[attr-defined]


def test_an_image_feature_is_found_among_other_bytes(tmp_path: Path) -> None:
    features = datasets.Features({"mask": datasets.Value("binary"), "scan": datasets.Image()})
    cells = {"mask": [b"x"], "scan": [{"bytes": PICTURES[0], "path": None}]}
    datasets.Dataset.from_dict(cells, features=features).save_to_disk(tmp_path / "data")
    assert [row.data for row in read_refs(Dataset(source=str(tmp_path / "data")))] == [PICTURES[0]]


IMAGES = [{"bytes": data, "path": None} for data in PICTURES[:2]]


@pytest.mark.parametrize(
    ("feature", "cells", "expected"),
    [
        (datasets.List(datasets.Image()), [[cell] for cell in IMAGES], ""),
        (datasets.List(datasets.Image()), [IMAGES, IMAGES], "its image: 2 images in one row; give each image a row"),
        (datasets.Value("large_binary"), PICTURES[:2], ""),
    ],
    ids=["list-of-one", "list-of-two", "large-binary"],
)
def test_images_of_every_feature(tmp_path: Path, feature: Any, cells: list[Any], expected: str) -> None:
    features = datasets.Features({"image": feature})
    datasets.Dataset.from_dict({"image": cells}, features=features).save_to_disk(tmp_path / "data")
    rows = read_refs(Dataset(source=str(tmp_path / "data"), format="huggingface"))
    if expected:
        assert expected in rows[0].detail
        assert (rows[0].data, rows[0].file) == (None, None)
    else:
        assert [read_bytes(row) for row in rows] == PICTURES[:2]


TEXT = datasets.Value("string")


@pytest.mark.parametrize(
    ("feature", "cell", "expected"),
    [
        (datasets.List({"raw": TEXT, "tokens": datasets.List(TEXT)}), [{"raw": "A dog.", "tokens": ["a"]}], ["A dog."]),
        ({"id": datasets.Value("int64"), "caption": TEXT}, {"id": 0, "caption": "A dog."}, ["A dog."]),
        (datasets.List({"from": TEXT, "value": TEXT}), [{"from": "gpt", "value": "A dog."}], ["A dog."]),
        (datasets.Value("large_string"), "A dog.", ["A dog."]),
        ({"en": TEXT, "de": TEXT}, {"en": "A dog.", "de": "Ein Hund."}, "references 'said': an object ({en, de})"),
        (datasets.Value("float64"), 0.5, "references 'said': a number (0.5); name a column of texts"),
        (datasets.Value("timestamp[s]"), datetime.datetime(2026, 1, 1), "references 'said': a datetime; "),
    ],
    ids=["list-of-objects", "object", "conversation", "large-string", "languages", "number", "time"],
)
def test_references_of_every_feature(tmp_path: Path, feature: Any, cell: Any, expected: Any) -> None:
    features = datasets.Features({"image": datasets.Image(), "said": feature})
    made_of = datasets.Dataset.from_dict({"image": IMAGES[:1], "said": [cell]}, features=features)
    made_of.save_to_disk(tmp_path / "data")
    (row,) = read_refs(Dataset(source=str(tmp_path / "data"), references="said"))
    assert row.references == expected if isinstance(expected, list) else expected in row.detail


def test_several_class_labels_have_a_name_each(tmp_path: Path) -> None:
    kinds = datasets.List(datasets.ClassLabel(names=["cat", "dog", "cow"]))
    features = datasets.Features({"image": datasets.Image(), "kind": kinds})
    datasets.Dataset.from_dict({"image": IMAGES, "kind": [[0, 2], []]}, features=features).save_to_disk(
        tmp_path / "data"
    )
    rows = read_refs(Dataset(source=str(tmp_path / "data"), label="kind"))
    assert [(row.label, row.label_id) for row in rows] == [("cat, cow", "0, 2"), (None, None)]
