"""Golden sets found again by their content: moved clones, copied folders, and different content that must not match."""

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from samples import checkpoint_files, draw_picture, encode_image, upload
from stage_jobs import run_stage

from ray_jobs.contract.spec import Spec
from ray_jobs.dataset import same_content
from ray_jobs.dataset.same_content import note_golden
from ray_jobs.inputs.errors import InputError
from ray_jobs.plan import plan
from ray_jobs.storage import content_hashes, objects


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def clone(place: Path) -> Path:
    """A folder with a suite and its images, as in a clone of a repository."""
    (place / "images").mkdir(parents=True)
    for number in range(3):
        (place / "images" / f"{number}.png").write_bytes(encode_image(draw_picture(number)))
    (place / "images" / "metadata.jsonl").write_text('{"file_name": "0.png", "caption": "a picture"}\n')
    settings = {"name": "t", "dataset": {"source": "images", "references": "caption"}}
    (place / "t.yaml").write_text(yaml.safe_dump(settings))
    return place


def plan_clone(tmp_path: Path, place: Path) -> Spec:
    checkpoint = tmp_path / "checkpoint"
    if not checkpoint.exists():
        upload(str(checkpoint), checkpoint_files())
    return plan(str(tmp_path / "root"), str(place / "t.yaml"), str(checkpoint), by_hand=True)


def complete(spec: Spec) -> None:
    """Write the files by which a complete golden set is recognised, as the job does."""
    objects.write(f"{spec.golden_uri}/manifest.json", b"{}")
    note_golden(spec)


def test_a_moved_clone_keeps_every_id(tmp_path: Path) -> None:
    first = plan_clone(tmp_path, clone(tmp_path / "here"))
    complete(first)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    shutil.rmtree(tmp_path / "here")
    for file in (tmp_path / "there" / "images").iterdir():
        os.utime(file, (1, 1))
    moved = plan_clone(tmp_path, tmp_path / "there")
    assert (moved.golden_id, moved.series_id, moved.run_id) == (first.golden_id, first.series_id, first.run_id)
    assert moved.source_revision != first.source_revision


def test_the_same_place_and_no_other_is_as_before(tmp_path: Path) -> None:
    first = plan_clone(tmp_path, clone(tmp_path / "here"))
    assert first.same_golden is None
    assert first.golden_id == first.model_copy(update={"content_id": None}).golden_id
    complete(first)
    assert plan_clone(tmp_path, tmp_path / "here") == first


CHANGES: dict[str, Callable[[Path], Any]] = {
    "another-image": lambda place: (place / "images" / "0.png").write_bytes(encode_image(draw_picture(9))),
    "one-more": lambda place: (place / "images" / "9.png").write_bytes(encode_image(draw_picture(9))),
    "renamed": lambda place: (place / "images" / "0.png").rename(place / "images" / "8.png"),
    "another-caption": lambda place: (place / "images" / "metadata.jsonl").write_text(
        '{"file_name": "0.png", "caption": "a pictura"}\n'
    ),
    "another-sample": lambda place: (place / "t.yaml").write_text(
        (place / "t.yaml").read_text().replace("references: caption", "references: caption\n  limit: 2")
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_different_content_is_not_taken_for_the_same(tmp_path: Path, change: Callable[[Path], Any]) -> None:
    first = plan_clone(tmp_path, clone(tmp_path / "here"))
    complete(first)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    change(tmp_path / "there")
    other = plan_clone(tmp_path, tmp_path / "there")
    assert other.same_golden is None
    assert other.golden_id != first.golden_id


def test_metadata_that_leads_out_of_its_folder_is_not_hashed_by_content(tmp_path: Path) -> None:
    place = clone(tmp_path / "here")
    (place / "images" / "metadata.jsonl").write_text('{"file_name": "../0.png", "caption": "a picture"}\n')
    assert plan_clone(tmp_path, place).content_id is None


@pytest.mark.integration
@pytest.mark.usefixtures("on_cluster")
def test_a_copy_of_a_prepared_folder_is_complete_and_a_copied_manifest_is_not(tmp_path: Path) -> None:
    """A manifest names images that are not part of its own content."""
    for name in ("images", "images/m.jsonl"):
        here, there = tmp_path / name.replace("/", "-") / "here", tmp_path / name.replace("/", "-") / "there"
        clone(here)
        (here / "images" / "m.jsonl").write_text('{"image": "0.png"}\n')
        (here / "t.yaml").write_text(yaml.safe_dump({"name": "t", "dataset": {"source": name}}))
        first = plan_clone(tmp_path, here)
        run_stage("preprocess", first)
        shutil.copytree(here, there)
        second = plan_clone(tmp_path, there)
        assert (second.golden_id == first.golden_id) is (name == "images")
        if second.same_golden:
            shutil.rmtree(there / "images")
            assert "is complete: 3 images" in run_stage("preprocess", second)


def test_an_incomplete_set_is_not_continued(tmp_path: Path) -> None:
    """Its plan has the paths of the other location."""
    first = plan_clone(tmp_path, clone(tmp_path / "here"))
    complete(first)
    objects.delete(f"{first.golden_uri}/manifest.json")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    second = plan_clone(tmp_path, tmp_path / "there")
    assert second.same_golden is None
    complete(second)
    shutil.copytree(tmp_path / "here", tmp_path / "third")
    assert plan_clone(tmp_path, tmp_path / "third").golden_id == second.golden_id


def test_a_large_source_is_not_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_CONTENT_MB", "0.0001")
    assert plan_clone(tmp_path, clone(tmp_path / "here")).content_id is None
    monkeypatch.delenv("ASSAY_CONTENT_MB")
    monkeypatch.setattr(same_content, "MOST_FILES", 3)
    assert plan_clone(tmp_path, tmp_path / "here").content_id is None


def test_a_limit_that_is_no_number_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_CONTENT_MB", "4 GB")
    with pytest.raises(InputError, match="ASSAY_CONTENT_MB is '4 GB'; set it to a number of megabytes, or not at all"):
        plan_clone(tmp_path, clone(tmp_path / "here"))


def test_a_file_is_read_once_and_again_when_it_changes(tmp_path: Path, own_cache: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"one")
    with content_hashes.content_hashes() as hashes:
        first = hashes.of(file)
    assert rows(own_cache) == []  # it was written a moment ago, so its time proves nothing yet
    wait_until_settled(file)
    for _ in range(2):
        with content_hashes.content_hashes() as hashes:
            assert hashes.of(file) == first
    ((state, sha256),) = rows(own_cache)
    assert sha256 == first
    forge(own_cache, state)
    with content_hashes.content_hashes() as hashes:
        assert hashes.of(file) == "remembered"
    old = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))
    with content_hashes.content_hashes() as hashes:
        assert hashes.of(file) not in (first, "remembered")


def test_many_plans_at_once_and_a_broken_database_do_no_harm(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_hashes, "SETTLED", -(10**18))
    monkeypatch.setattr(content_hashes, "MOST", 5)
    files = [tmp_path / f"f{number}" for number in range(20)]
    for file in files:
        file.write_text(file.name)
    hashes_seen: list[list[str]] = []

    def hash_all() -> None:
        with content_hashes.content_hashes() as hashes:
            hashes_seen.append([hashes.of(file) for file in files])

    threads = [threading.Thread(target=hash_all) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(hashes_seen) == 8
    assert all(hashes == hashes_seen[0] for hashes in hashes_seen)
    assert len(rows(own_cache)) == 5
    (own_cache / content_hashes.FILE).write_bytes(b"not a database" * 100)
    hash_all()
    assert hashes_seen[-1] == hashes_seen[0]


def rows(folder: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(folder / content_hashes.FILE) as database:
        return database.execute("SELECT state, sha256 FROM hashes").fetchall()


def forge(folder: Path, state: str) -> None:
    with sqlite3.connect(folder / content_hashes.FILE) as database:
        database.execute("UPDATE hashes SET sha256 = 'remembered' WHERE state = ?", (state,))


def wait_until_settled(file: Path) -> None:
    while time.time_ns() - file.stat().st_ctime_ns <= content_hashes.SETTLED:
        time.sleep(0.05)


@pytest.mark.parametrize("name", ["pipe.png", "pipe", "metadata.csv"])
def test_a_pipe_in_the_folder_stops_no_plan(tmp_path: Path, name: str) -> None:
    place = clone(tmp_path / "here")
    os.mkfifo(place / "images" / name)  # which an opener waits for
    assert plan_clone(tmp_path, place).content_id is None
