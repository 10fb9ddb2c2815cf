"""Forced requests beside each other and beside readers: each finds complete captions and removes none."""

from pathlib import Path

import pyarrow as pa
import pytest

from ray_jobs.contract.artifacts import Manifest
from ray_jobs.contract.ids import request_folder
from ray_jobs.storage import manifests, objects, parts

NAMES = ["part-00000", "part-00001"]


def table(text: str) -> pa.Table:
    return pa.table({"image_id": ["a", "b"], "caption": [text] * 2})


def make(uri: str, text: str, force: str | None = None, upto: int = 9) -> Manifest | None:
    """Do the work of a caption job, killed after `upto` of its steps."""
    folder = f"{request_folder(force)}/parts" if force else "parts"
    steps = 0
    for name in NAMES:
        if steps == upto:
            return None
        steps += 1
        parts.write(uri, name, table(text), {}, folder)
    data = [parts.describe(name, objects.read(manifests.uri_of_part(uri, name, folder))) for name in NAMES]
    manifest = manifests.build_manifest("captions", "x", data, 4, {}, {})
    if steps == upto:
        return None
    if not force:
        return manifests.commit(uri, manifest)
    if steps + 1 == upto:  # its own manifest is there, and does not stand yet
        return manifests.commit(
            f"{uri}/{request_folder(force)}",
            manifest.model_copy(update={"details": {"folder": folder}}),
        )
    return manifests.commit_forced(uri, manifest, request_folder(force))


def read_state(uri: str) -> set[str]:
    return {text for name in NAMES for text in parts.read(uri, name)["caption"].to_pylist()}


@pytest.mark.parametrize("upto", range(4))
def test_a_killed_forced_request_removes_nothing_and_continues(tmp_path: Path, upto: int) -> None:
    uri = str(tmp_path)
    make(uri, "old")
    make(uri, "new", "one", upto)
    assert read_state(uri) == {"old"}
    make(uri, "another", "one")  # parts that are there stand
    assert read_state(uri) == ({"new"} if upto >= 2 else {"another"} if upto == 0 else {"new", "another"})


@pytest.mark.parametrize("first", ["one", "two"])
def test_two_forced_requests_do_not_undo_each_other(tmp_path: Path, first: str) -> None:
    uri, second = str(tmp_path), {"one": "two", "two": "one"}[first]
    make(uri, "old")
    make(uri, "of the first", first, upto=1)
    make(uri, "of the second", second, upto=1)
    make(uri, "of the first", first)
    assert read_state(uri) == {"of the first"}
    make(uri, "of the second", second)
    assert read_state(uri) == {"of the second"}
    make(uri, "again", first)  # a retry of the first, which had been complete
    assert read_state(uri) == {"of the second"}


def test_a_read_during_a_swap_of_attempts_is_consistent(tmp_path: Path) -> None:
    uri = str(tmp_path)
    make(uri, "old")
    before = manifests.require_manifest(uri, "caption")
    make(uri, "new", "one")
    assert manifests.require_manifest(uri, "caption") != before
    assert {text for name in NAMES for text in parts.read(uri, name, folder="parts")["caption"].to_pylist()} == {"old"}
    assert read_state(uri) == {"new"}


def test_a_forced_request_where_there_was_nothing(tmp_path: Path) -> None:
    make(str(tmp_path), "new", "one")
    assert read_state(str(tmp_path)) == {"new"}
    assert parts.read_columns(str(tmp_path), NAMES[0], ["caption"])["caption"].to_pylist() == ["new"] * 2


def test_a_manifest_from_before_forced_folders_is_read(tmp_path: Path) -> None:
    spec = make(str(tmp_path), "old")
    assert spec
    assert "folder" not in spec.details
    assert read_state(str(tmp_path)) == {"old"}


@pytest.mark.parametrize("token", ["../../golden", "manual__2026-01-01T00:00:00+00:00", "a/b", "", "\n"])
def test_no_token_leads_out_of_its_stage(tmp_path: Path, token: str) -> None:
    make(str(tmp_path / "stage"), "new", token or "x")
    assert read_state(str(tmp_path / "stage")) == {"new"}
    assert [path.name for path in tmp_path.iterdir()] == ["stage"]


def test_forgetting_keeps_the_marks_of_other_requests(tmp_path: Path) -> None:
    """Otherwise each of two forced evaluations would miss its mark, and delete the other's work."""
    uri = str(tmp_path)
    manifests.clear_stage(uri, "one", keep=("forced-",))
    manifests.clear_stage(uri, "two", keep=("forced-",))
    make(uri, "of two")
    manifests.clear_stage(uri, "one", keep=("forced-",))
    assert read_state(uri) == {"of two"}
