"""Parts of equal work. The plan is stored with them and equal for every planner."""

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as some
from samples import make_spec, write_pictures

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.contract.spec import Spec
from ray_jobs.dataset.revision import source_revision
from ray_jobs.golden import part_plan
from ray_jobs.golden.part_plan import MEGABYTE, load_or_create_plan, read_refs, split_parts
from ray_jobs.golden.sample import open_sample
from ray_jobs.inputs.errors import InputError
from ray_jobs.sources.open_source import open_source
from ray_jobs.sources.source import Distance, ImageRef, SourceImage
from ray_jobs.storage import object_listing, objects


def parts_of(sizes: list[int], **settings: Any) -> list[list[ImageRef]]:
    with open_sample(Dataset(source="/images")) as sample:
        sample.draw(ImageRef(f"{number:06d}", "", size) for number, size in enumerate(sizes))
        return list(split_parts(sample, Preprocess(**settings)))


@hypothesis(max_examples=100, deadline=None, derandomize=True)
@given(
    sizes=some.lists(some.one_of(some.just(0), some.integers(1, 5 * MEGABYTE)), min_size=1, max_size=200),
    rows=some.integers(1, 50),
    megabytes=some.integers(1, 8),
)
def test_every_image_is_in_one_part_and_no_part_is_too_large(sizes: list[int], rows: int, megabytes: int) -> None:
    parts = parts_of(sizes, part_rows=rows, part_mb=megabytes)
    assert [image.image_id for part in parts for image in part] == [f"{number:06d}" for number in range(len(sizes))]
    for part in parts:
        assert 0 < len(part) <= rows + 1
        assert sum(image.size for image in part) <= megabytes * MEGABYTE + max(image.size for image in part)


def test_parts_are_of_equal_work() -> None:
    sizes = [3_000_000 if number % 10 == 0 else 50_000 for number in range(2000)]
    parts = parts_of(sizes, part_rows=256, part_mb=64)
    work = [len(part) / 256 + sum(image.size for image in part) / (64 * MEGABYTE) for part in parts]
    assert max(work) - min(work) < 2 * (1 / 256 + 3 / 64)  # but for the image at each end
    assert [len(part) for part in parts_of([0] * 1000, part_rows=256)] == [250] * 4


class CountingSource:
    """A source that counts how often it is listed."""

    distance: Distance = "local"

    def __init__(self, folder: Path) -> None:
        self.source, self.times = open_source(Dataset(source=str(folder))), 0

    def list_images(self) -> Iterator[ImageRef]:
        self.times += 1
        return self.source.list_images()

    def read(self, refs: Sequence[ImageRef]) -> Iterator[SourceImage]:
        return self.source.read(refs)


def spec_of(folder: Path, root: str, **settings: Any) -> Spec:
    spec = make_spec(root, dataset__source=str(folder), **settings)
    return spec.model_copy(update={"source_revision": source_revision(spec.suite.dataset)})


def test_a_plan_is_kept_and_found_again(store: str, tmp_path: Path) -> None:
    source = CountingSource(write_pictures(tmp_path / "images", 300))
    spec = spec_of(tmp_path / "images", store, preprocess__part_rows=4)
    plan = load_or_create_plan(spec, source)
    assert (plan.rows, plan.listed) == (300, 300)
    assert 75 <= len(plan.parts) <= 77
    assert plan.bytes == sum(file.stat().st_size for file in (tmp_path / "images").iterdir())
    assert len({part.file for part in plan.parts}) == 2
    assert load_or_create_plan(spec, source) == plan
    assert source.times == 1
    refs = [ref for part in plan.parts for ref in read_refs(spec.golden_uri, part.file, part.group)]
    assert refs == list(source.list_images())


def test_killed_while_planning_it_plans_the_same(tmp_path: Path) -> None:
    source = CountingSource(write_pictures(tmp_path / "images", 300))
    spec = spec_of(tmp_path / "images", str(tmp_path / "root"), preprocess__part_rows=4)
    plan = load_or_create_plan(spec, source)
    folder = f"{spec.golden_uri}/plan"
    before = {entry.key: objects.read(f"{folder}/{entry.key}") for entry in object_listing.iterate_entries(folder)}
    for removed in (["plan.json"], ["plan.json", plan.parts[-1].file], list(before)):
        for name in removed:
            objects.delete(f"{folder}/{name}")
        assert load_or_create_plan(spec, source) == plan
        assert {
            entry.key: objects.read(f"{folder}/{entry.key}") for entry in object_listing.iterate_entries(folder)
        } == before


def test_other_part_sizes_keep_the_plan_that_stands(tmp_path: Path) -> None:
    source = CountingSource(write_pictures(tmp_path / "images", 20))
    plan = load_or_create_plan(spec_of(tmp_path / "images", str(tmp_path), preprocess__part_rows=4), source)
    other = spec_of(tmp_path / "images", str(tmp_path), preprocess__part_rows=7)
    assert load_or_create_plan(other, source) == plan


def test_parts_of_another_plan_are_not_used(tmp_path: Path) -> None:
    """A job with other part sizes died before its plan was complete."""
    source = CountingSource(write_pictures(tmp_path / "images", 40))
    load_or_create_plan(spec_of(tmp_path / "images", str(tmp_path / "root"), preprocess__part_rows=10), source)
    spec = spec_of(tmp_path / "images", str(tmp_path / "root"), preprocess__part_rows=20)
    objects.delete(f"{spec.golden_uri}/plan/plan.json")
    plan = load_or_create_plan(spec, source)
    refs = [ref for part in plan.parts for ref in read_refs(spec.golden_uri, part.file, part.group)]
    assert refs == list(source.list_images())
    assert max(part.rows for part in plan.parts) > 10


def test_a_set_is_made_with_one_version_of_each_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = CountingSource(write_pictures(tmp_path / "images", 5))
    spec = spec_of(tmp_path / "images", str(tmp_path / "root"))
    load_or_create_plan(spec, source)
    monkeypatch.setattr(part_plan, "version", lambda name: "99" if name == "pillow" else version(name))
    with pytest.raises(InputError, match=r"begun with pillow [\d.]+, now 99; delete it"):
        load_or_create_plan(spec, source)


def test_a_source_that_changed_is_planned_again(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "images", 5)
    spec = spec_of(folder, str(tmp_path / "root"))
    write_pictures(folder, 6)
    with pytest.raises(InputError, match="images: it changed after the run was planned; plan it again"):
        load_or_create_plan(spec, CountingSource(folder))
    assert list(object_listing.iterate_entries(spec.golden_uri)) == []


def test_a_damaged_plan_is_reported(tmp_path: Path) -> None:
    spec = spec_of(write_pictures(tmp_path / "images", 5), str(tmp_path / "root"))
    objects.write(f"{spec.golden_uri}/plan/plan.json", b"{")
    with pytest.raises(InputError, match=r"plan\.json: not a plan .*; delete the folder"):
        load_or_create_plan(spec, CountingSource(tmp_path / "images"))
