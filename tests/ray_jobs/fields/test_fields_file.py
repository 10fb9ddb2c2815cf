"""The schema of fields in a file beside its suite: which files are read, and what of them is part of an id."""

import json
from pathlib import Path
from typing import Any

import pytest
from samples import make_spec

from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError
from ray_jobs.planning.suites import load_suite

COUNT: dict[str, Any] = {"properties": {"count": {"type": "integer", "minimum": 0, "maximum": 9}}}


@pytest.fixture
def suites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "suites"
    folder.mkdir()
    monkeypatch.setenv("ASSAY_SUITES", str(folder))
    monkeypatch.delenv("ASSAY_SOURCES")  # a schema may lie with the data too
    return folder


def write(suites: Path, fields: Any, more: str = "") -> None:
    (suites / "s.yaml").write_text(f"name: s\ndataset: {{source: /d{more}}}\ncaption: {{fields: {json.dumps(fields)}}}")


def test_a_file_and_the_same_schema_in_the_suite_are_one(suites: Path) -> None:
    write(suites, COUNT)
    inline = load_suite("s")
    (suites / "count.json").write_text(json.dumps(COUNT, indent=3))
    write(suites, "count.json")
    assert load_suite("s") == inline
    assert inline.caption.field_names == ("count",)


@pytest.mark.parametrize("path", ["../secrets.json", "/etc/secrets.json", "x/../../secrets.json", "leading.json"])
def test_the_file_lies_beside_its_suite(suites: Path, path: str) -> None:
    (suites.parent / "secrets.json").write_text(json.dumps(COUNT))
    (suites / "leading.json").symlink_to(suites.parent / "secrets.json")
    write(suites, path)
    with pytest.raises(InputError, match="is not below the folder of the suite; put the file there"):
        load_suite("s")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"fields .*count\.json: no such file; correct the suite"),
        (b"\xff", r"fields .*count\.json: not UTF-8 text; correct the file"),
        (b"{", r"fields .*count\.json: is not JSON; correct the file"),
        (b'{"properties": {"it": {"$ref": "#"}}}', r"fields .*count\.json: it: `\$ref` is not supported here"),
        (b" " * 70_000, r"count\.json.*65,?536"),
    ],
    ids=["missing", "bytes", "cut short", "a reference", "large"],
)
def test_a_file_that_is_no_schema_is_reported_by_name(suites: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (suites / "count.json").write_bytes(content)
    write(suites, "count.json")
    with pytest.raises(InputError, match=message) as error:
        load_suite("s")
    assert len(str(error.value).splitlines()) == 1


def test_truth_is_checked_against_the_file(suites: Path) -> None:
    (suites / "count.json").write_text(json.dumps(COUNT))
    write(suites, "count.json", ", truth: {colour: c}")
    with pytest.raises(
        InputError, match=r"suite s: dataset.truth: caption.fields has no property 'colour'; known: count"
    ):
        load_suite("s")


def make_spec_with(fields: Any) -> Spec:
    return make_spec(caption__fields=fields)


def test_the_content_of_the_schema_is_what_enters_the_id_of_captions() -> None:
    described = {"title": "what to say", "properties": {"count": COUNT["properties"]["count"] | {"description": "n"}}}
    assert make_spec_with(COUNT).caption_id == make_spec_with(described).caption_id
    assert make_spec_with(None).caption_id == make_spec().caption_id
    other = {"properties": {"count": {"type": "integer", "minimum": 0, "maximum": 8}}}
    a, b = {"type": "boolean"}, {"type": "string"}
    caption_ids = [
        make_spec_with(schema).caption_id for schema in (None, COUNT, other, {"properties": {"a": a, "b": b}})
    ]
    caption_ids.append(make_spec_with({"properties": {"b": b, "a": a}}).caption_id)  # the order of the answer
    assert len(set(caption_ids)) == 5
    assert make_spec_with(COUNT).golden_id == make_spec().golden_id


def test_a_spec_with_fields_is_read_as_it_was_written() -> None:
    spec = make_spec_with({"properties": {"b": {"type": "string"}, "a": {"type": "boolean"}}})
    spec_read = Spec.model_validate_json(spec.model_dump_json())
    assert spec_read == spec
    assert spec_read.caption_id == spec.caption_id
    assert spec_read.suite.caption.field_names == ("b", "a")


def test_truth_makes_another_golden_set() -> None:
    with_truth = make_spec(caption__fields=COUNT, dataset__truth={"count": "n"})
    assert with_truth.golden_id != make_spec_with(COUNT).golden_id
