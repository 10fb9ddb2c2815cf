"""Suites and data behind links that are swapped at each update: with the same content, every id stays."""

import os
import shutil
from pathlib import Path

import pytest
import yaml
from samples import checkpoint_files, upload, write_pictures

from ray_jobs import plan
from ray_jobs.contract import spec as contract
from ray_jobs.contract import suite
from ray_jobs.contract.spec import Spec
from ray_jobs.dataset import revision
from ray_jobs.planning import predecessor, suites
from ray_jobs.storage import object_listing, objects

LAYOUTS = ["ConfigMap", "git-sync", "release folders"]
SUITE = {
    "name": "mounted",
    "dataset": {"source": "../data/images", "label": "label", "label_names": "names.json"},
    "engine": {"base_model": "../data/base"},
    "judge": {"kind": "vllm", "model": "../data/judge"},
}


def fill(folder: Path) -> None:
    """What a repository holds: suites, and data beside them; of the same times in each update."""
    (folder / "suites").mkdir(parents=True)
    (folder / "suites" / "mounted.yaml").write_text(yaml.safe_dump(SUITE))
    (folder / "suites" / "shards.yaml").write_text(
        yaml.safe_dump({"name": "shards", "dataset": {"source": "../data/train-{0..1}.tar"}})
    )
    (folder / "suites" / "names.json").write_text('{"1": "cat"}')
    write_pictures(folder / "data" / "images", 2)
    for name in ("base", "judge", "step-1"):
        upload(str(folder / "data" / name), checkpoint_files())
    for number in range(2):
        (folder / "data" / f"train-{number}.tar").write_bytes(b"x")


def update(home: Path, layout: str, number: int) -> Path:
    """Make the links lead to the update of that number. Returns the folder of suites by the deployment's path."""
    if layout == "ConfigMap":
        link, target = home / "..data", home / f"..2026_{number}"
    elif layout == "git-sync":
        link, target = home / "repo", home / ".worktrees" / (str(number) * 3)
    else:
        link, target = home / "current", home / "releases" / str(number)
    if number:
        shutil.copytree(home / "pristine", target, symlinks=True)  # keeps the times
    else:
        fill(target)
        shutil.copytree(target, home / "pristine")
    link.unlink(missing_ok=True)
    link.symlink_to(target if layout == "release folders" else os.path.relpath(target, home))
    if layout != "ConfigMap":
        return link / "suites"
    for name in ("suites", "data"):
        if not (home / name).is_symlink():
            (home / name).symlink_to(f"..data/{name}")
    return home / "suites"


def ids_of(spec: Spec) -> dict[str, str]:
    return {
        name: getattr(spec, name)
        for name in ("golden_id", "series_id", "caption_id", "judge_id", "scoring_id", "run_id")
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_update_with_the_same_content_moves_no_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    specs = []
    for number in range(3):
        suites = update(tmp_path / "home", layout, number)
        monkeypatch.setenv("ASSAY_SUITES", str(suites))
        checkpoint = upload(str(tmp_path / "models" / "step-1"), checkpoint_files())
        specs.append(plan.plan(str(tmp_path / "root"), "mounted", checkpoint))
        assert str(number) not in specs[-1].suite.dataset.source.removeprefix(str(tmp_path))
    assert [ids_of(spec) for spec in specs] == [ids_of(specs[0])] * 3
    assert [spec.suite for spec in specs] == [specs[0].suite] * 3
    assert {spec.uri for spec in specs} == {specs[0].uri}
    assert [entry.size for entry in object_listing.iterate_entries(specs[-1].suite.dataset.source)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_shards_named_by_a_pattern_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str) -> None:
    sources = []
    for number in range(2):
        monkeypatch.setenv("ASSAY_SUITES", str(update(tmp_path / "home", layout, number)))
        dataset = suites.load_suite("shards").dataset
        sources.append((dataset.source, revision.source_revision(dataset)))
    assert sources[0] == sources[1]


def test_a_parent_step_over_a_link_resolves_as_the_system_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "repository")
    (tmp_path / "suites").symlink_to("repository/suites")
    monkeypatch.setenv("ASSAY_SUITES", str(tmp_path / "suites"))
    assert suites.load_suite("mounted").dataset.source == str(tmp_path / "repository" / "data" / "images")


def test_a_path_that_an_earlier_release_wrote_without_links_is_no_change_by_a_person(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    old, new = (
        Spec(
            root="/root",
            suite=suite.Suite.model_validate({"name": "s", "dataset": {"source": f"{tmp_path}/{name}"}}),
            checkpoint=contract.Checkpoint(uri="/m", name="m", fingerprint="f" * 16),
            source_revision="r1",
        )
        for name in ("real", "link")
    )
    assert old.series_id != new.series_id
    assert predecessor.list_changes(old, new) == ()


@pytest.mark.parametrize("is_complete", [True, False], ids=["complete", "begun"])
def test_files_of_an_earlier_release_without_links_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_complete: bool
) -> None:
    monkeypatch.setenv("ASSAY_SUITES", str(update(tmp_path / "home", "release folders", 0)))
    checkpoint = upload(str(tmp_path / "models" / "step-1"), checkpoint_files())
    first = plan.plan(str(tmp_path / "root"), "mounted", checkpoint)
    paths = {name: os.path.realpath(getattr(first.suite.dataset, name)) for name in ("source", "label_names")}
    dataset = first.suite.dataset.model_copy(update=paths)
    former = first.model_copy(update={"suite": first.suite.model_copy(update={"dataset": dataset})})
    assert former.golden_id != first.golden_id
    objects.write(f"{former.golden_uri}/{'manifest' if is_complete else 'plan'}.json", b"{}")
    again = plan.plan(str(tmp_path / "root"), "mounted", checkpoint)
    assert ids_of(again) == ids_of(former if is_complete else first)
    objects.write(f"{first.golden_uri}/manifest.json", b"{}")
    assert plan.plan(str(tmp_path / "root"), "mounted", checkpoint) == first
