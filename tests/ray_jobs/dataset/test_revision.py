"""The revision of a source: what it is made of, and which sources have none."""

import re
import tracemalloc
from pathlib import Path

import pytest

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.dataset import revision
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import object_listing, objects


def test_the_revision_of_a_source_is_its_content(store: str) -> None:
    dataset = Dataset(source=f"{store}/images")
    objects.write(f"{store}/images/a.png", b"1")
    first = revision.source_revision(dataset)
    assert revision.source_revision(dataset) == first
    objects.write(f"{store}/images/b.png", b"2")
    second = revision.source_revision(dataset)
    objects.write(f"{store}/images/b.png", b"3")
    third = revision.source_revision(dataset)
    objects.delete(f"{store}/images/b.png")
    assert len({first, second, third}) == 3
    assert revision.source_revision(dataset) == first


def test_a_pinned_revision_is_taken_as_it_is() -> None:
    assert revision.source_revision(Dataset(source="org/name", revision="a1" * 20)) == "a1" * 20
    assert revision.source_revision(Dataset(source="s3://bucket/images", revision="v1")) == "v1"
    with pytest.raises(InputError, match="pin its `revision`"):
        revision.source_revision(Dataset(source="org/name", revision="main"))


def test_a_hub_name_must_be_pinned() -> None:
    with pytest.raises(InputError) as error:
        revision.source_revision(Dataset(source="org/name"))
    assert str(error.value).startswith(
        "dataset org/name: no such directory; if it is a dataset on the Hugging Face hub"
    )
    assert "pin its `revision`" in str(error.value)


@pytest.mark.parametrize("source", ["~/images", "$HOME/images", "${DATA}/images"])
def test_a_place_that_only_a_shell_resolves_is_reported(source: str) -> None:
    with pytest.raises(InputError, match=r"~ and \$ are not replaced in a suite; write the whole path"):
        revision.source_revision(Dataset(source=source))


def test_a_pattern_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing is there; patterns with \* are not read, name the folder"):
        revision.source_revision(Dataset(source=f"{tmp_path}/*.png"))


def test_nothing_at_the_source(store: str) -> None:
    with pytest.raises(InputError, match="nothing is there; check the URI"):
        revision.source_revision(Dataset(source=f"{store}/nothing", format="folder"))


def test_a_source_of_one_file(store: str) -> None:
    objects.write(f"{store}/data/val.parquet", b"x")
    assert revision.source_revision(Dataset(source=f"{store}/data/val.parquet"))


def test_a_source_of_files_that_a_pattern_names(store: str) -> None:
    for number in range(3):
        objects.write(f"{store}/train-{number:03d}.tar", b"x")
    dataset = Dataset(source=f"{store}/train-{{000..001}}.tar")
    first = revision.source_revision(dataset)
    objects.write(f"{store}/train-002.tar", b"changed")
    assert revision.source_revision(dataset) == first
    objects.write(f"{store}/train-001.tar", b"changed")
    assert revision.source_revision(dataset) != first
    objects.delete(f"{store}/train-001.tar")
    with pytest.raises(InputError, match=r"train-001\.tar is not there; correct the pattern or add the file"):
        revision.source_revision(dataset)
    with pytest.raises(InputError, match="its braces do not match"):
        revision.source_revision(Dataset(source=f"{store}/train-{{000..001.tar"))


def test_the_names_of_labels_are_part_of_the_revision(store: str) -> None:
    objects.write(f"{store}/list.jsonl", b"{}")
    objects.write(f"{store}/names.json", b"[]")
    plain = Dataset(source=f"{store}/list.jsonl", label="x")
    dataset = plain.model_copy(update={"label_names": f"{store}/names.json"})
    first = revision.source_revision(dataset)
    objects.write(f"{store}/names.json", b'["tench"]')
    assert len({first, revision.source_revision(dataset), revision.source_revision(plain)}) == 3


@pytest.mark.parametrize("source", ["list.jsonl", "a/list.csv", "train-{000..009}.tar", "x.tar", "/data/images"])
def test_a_missing_file_is_not_taken_for_a_name_on_a_hub(source: str) -> None:
    dataset = Dataset(source=source)
    assert not revision.is_hub_name(dataset)
    with pytest.raises(InputError, match=r"not there|nothing is there"):
        revision.source_revision(dataset)
    assert revision.is_hub_name(Dataset(source="org/name"))


@pytest.mark.slow
def test_a_revision_takes_no_memory_of_the_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = (object_listing.Entry(f"{number:07d}.png", number, "v") for number in range(100_000))
    monkeypatch.setattr(object_listing, "iterate_entries", lambda prefix: entries)
    revision.is_hub_name(Dataset(source=str(tmp_path)))  # imports what it needs
    tracemalloc.start()
    of_folder = revision.source_revision(Dataset(source=str(tmp_path)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert re.fullmatch("[0-9a-f]{16}", of_folder)
    assert peak < 1_000_000
