"""The same images through every kind of source are the same images."""

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from image_formats import (
    CAPTIONS,
    COUNT,
    FORMATS,
    HASHES,
    LABELS,
    PICTURES,
    hash_images,
    list_refs,
    make_rows,
    make_settings,
    read_bytes,
    read_refs,
    write_jsonl,
)
from reply_server import Reply, serve_replies

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.inputs.errors import InputError
from ray_jobs.sources.open_source import open_source
from ray_jobs.storage import object_listing, objects

Make = Callable[[Path], dict[str, Any]]


@pytest.fixture(params=[*FORMATS, "manifest_http"], ids=lambda make: getattr(make, "__name__", make))
def format_settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    place = tmp_path / "data"
    if request.param != "manifest_http":
        yield request.param(place)
        return
    with serve_replies(lambda path, _: Reply(body=PICTURES[int(path.strip("/.png"))])) as address:
        place.mkdir()
        yield {"source": write_jsonl(place / "list.jsonl", make_rows(f"{address}/", "url"))}


def test_the_same_images_references_and_labels(format_settings: dict[str, Any]) -> None:
    rows = read_refs(make_settings(format_settings, references="caption", label="kind"))
    assert list(hash_images(rows)) == HASHES
    assert [row.references for row in rows] == CAPTIONS
    assert [row.label for row in rows] == LABELS
    assert len({row.image_id for row in rows}) == COUNT


def test_only_chosen_rows_are_read_in_the_requested_order(format_settings: dict[str, Any]) -> None:
    dataset = make_settings(format_settings)
    everything = list_refs(dataset)
    for numbers in ([1, 2, 4, 6], [6, 0, 5, 1, 4], [3, 3], []):
        chosen_rows = read_refs(dataset, [everything[number] for number in numbers])
        assert list(hash_images(chosen_rows)) == [HASHES[number] for number in numbers]
        assert [row.image_id for row in chosen_rows] == [everything[number].image_id for number in numbers]
        assert all((row.label, row.label_id, row.references) == (None, None, []) for row in chosen_rows)


def test_a_listing_is_the_same_every_time_and_has_labels_for_strata(format_settings: dict[str, Any]) -> None:
    dataset = make_settings(format_settings, label="kind", stratify=True, limit=3)
    once = list_refs(dataset)
    assert once == list_refs(dataset)
    as_ids = ["0" if label == "even" else "1" for label in LABELS]  # where the source has names for ids
    assert [ref.label for ref in once] in (LABELS, as_ids)
    assert all(0 <= ref.size < 20 * len(PICTURES[0]) for ref in once)


def test_a_source_is_small_to_send_after_it_has_listed(format_settings: dict[str, Any]) -> None:
    source = open_source(make_settings(format_settings))
    assert len(list(source.list_images())) == COUNT
    assert len(pickle.dumps(source)) < 2000


WRONG = {"image": "imag", "references": "captoin", "label": "kidn"}


@pytest.mark.parametrize("role", ["references", "label"])
def test_a_missing_column_is_reported_with_the_nearest_right_name(format_settings: dict[str, Any], role: str) -> None:
    right = {"references": "caption", "label": "kind"}[role]
    message = rf"no column '{WRONG[role]}' for {role}; did you mean '{right}'\?"
    with pytest.raises(InputError, match=message):
        list_refs(make_settings(format_settings, **{role: WRONG[role]}))


@pytest.mark.parametrize(
    "make", [make for make in FORMATS if "folder" not in make.__name__ and "web" not in make.__name__]
)
def test_a_missing_image_column_is_reported(tmp_path: Path, make: Make) -> None:
    with pytest.raises(InputError, match=r"no column 'no such' for image; known: .*caption, kind"):
        list_refs(make_settings(make(tmp_path / "data"), image="no such"))


def test_the_columns_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "assay")
    dataset = make_settings(FORMATS[2](tmp_path / "data"), label="kind")
    list_refs(dataset)
    assert caplog.messages == [f"dataset {dataset.source}: columns image = 'image', label = 'kind'"]


# --- which format it is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (["a.png", "b.txt"], "Folder"),
        (["README.md", "data/a.parquet", "data/b.parquet"], "Parquet"),
        (["README.md", "data.arrow"], "Arrow"),
        (["a/0.tar", "sizes.json"], "WebDataset"),
        (["notes.txt"], "Folder"),
        (["dataset_info.json", "data-00000-of-00001.arrow"], "HuggingFace"),
    ],
)
def test_a_folder_is_what_it_holds(store: str, files: list[str], kind: str) -> None:
    for name in files:
        objects.write(f"{store}/it/{name}", b"")
    source = open_source(Dataset(source=f"{store}/it"))
    assert {"Parquet": "Parquet", "Arrow IPC": "Arrow"}.get(getattr(source, "what", "")) == kind or type(
        source
    ).__name__ == f"{kind}Source"


@pytest.mark.parametrize(
    ("files", "message"),
    [(("a.parquet", "b.tar"), "parquet files and webdataset files"), (("a.png", "b.arrow"), "arrow files and images")],
)
def test_a_folder_that_could_be_two_formats(store: str, files: tuple[str, ...], message: str) -> None:
    for name in files:
        objects.write(f"{store}/it/{name}", b"")
    with pytest.raises(InputError, match=f"holds {message}; say which with `format`"):
        open_source(Dataset(source=f"{store}/it"))


def test_telling_the_format_does_not_list_everything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    taken = 0

    def endless(prefix: str) -> Iterator[object_listing.Entry]:
        nonlocal taken
        while True:
            taken += 1
            yield object_listing.Entry(f"{taken}.txt", 1, "v")

    monkeypatch.setattr(object_listing, "iterate_entries", endless)
    open_source(Dataset(source=str(tmp_path)))
    assert taken == 1000


@pytest.mark.parametrize("kind", ["auto", "folder", "parquet", "arrow", "webdataset"])
def test_nothing_there(store: str, kind: Any) -> None:
    with pytest.raises(
        InputError, match=f"dataset {store}/nothing: (nothing is there|no such file|none of).*check the URI"
    ):
        list_refs(Dataset(source=f"{store}/nothing", format=kind))


def test_the_bytes_of_a_file_are_read_by_the_caller(tmp_path: Path) -> None:
    (row, *_) = read_refs(make_settings(FORMATS[0](tmp_path / "data")))
    assert (row.data, row.file) == (None, tmp_path / "data" / "000.png")
    assert read_bytes(row) == PICTURES[0]
