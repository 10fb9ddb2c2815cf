"""Planning: the same spec for the same request, its baseline, and what the command prints."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from planning_place import Place

from ray_jobs import cli
from ray_jobs.checkpoints.errors import Incomplete
from ray_jobs.contract import spec
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.storage import object_listing, objects, specs


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_same_request_is_the_same_spec(place: Place) -> None:
    model = place.checkpoint("step-1")
    first, again = place.plan(model), place.plan(model)
    assert first == again
    assert specs.load_spec(first.uri) == first
    assert place.plan(model + "/").uri == first.uri
    assert place.plan(f"file://{model}").uri == first.uri


def test_an_overwritten_checkpoint_is_another_run_over_the_same_golden_set(place: Place) -> None:
    before = place.plan(place.checkpoint("step-1"))
    after = place.plan(place.checkpoint("step-1", fill=1))
    assert before.uri != after.uri
    assert before.caption_id != after.caption_id
    assert before.golden_id == after.golden_id


def test_force_names_the_request_and_moves_nothing(place: Place) -> None:
    model = place.checkpoint("step-1")
    forced_spec = place.plan(model, force="manual__1")
    assert forced_spec.force == "manual__1"
    plain = place.plan(model)
    assert forced_spec.run_uri == plain.run_uri
    assert specs.load_spec(forced_spec.uri).force == "manual__1", "a plain request took the token of a forced one"
    assert specs.load_spec(plain.uri).force is None


def test_an_incomplete_checkpoint_is_not_planned(place: Place) -> None:
    with pytest.raises(Incomplete, match="nothing is there"):
        place.plan(str(place.folder / "models" / "step-9"))
    assert not Path(place.root).exists()


def test_a_wrong_root_is_reported_before_the_checkpoint_is_read(place: Place) -> None:
    place.root = "gs://bucket/root"
    with pytest.raises(InputError, match="gs://bucket/root: cannot open gs://"):
        place.plan(str(place.folder / "models" / "step-9"))


def test_the_first_run_has_no_baseline(place: Place) -> None:
    assert place.plan(place.checkpoint("step-1")).baseline is None


def test_the_baseline_is_the_last_accepted_run_of_this_scale(place: Place) -> None:
    place.validate(place.checkpoint("step-1", 1), "PASS")
    second = place.validate(place.checkpoint("step-2", 2), "PASS")
    place.validate(place.checkpoint("step-3", 3), "FAIL")
    place.validate(place.checkpoint("step-4", 4), "INCONCLUSIVE")
    place.validate(place.checkpoint("step-5", 5), "INCOMPLETE")
    baseline = place.plan(place.checkpoint("step-6", 6)).baseline
    assert baseline
    assert (baseline.run_id, baseline.run_uri, baseline.checkpoint.name) == (second.run_id, second.run_uri, "step-2")

    place.suite({"caption": {"prompt": "another question"}})
    assert place.plan(place.checkpoint("step-6", 6)).baseline is None


def test_a_repeated_run_keeps_its_baseline(place: Place) -> None:
    first = place.validate(place.checkpoint("step-1", 1), "PASS")
    second = place.validate(place.checkpoint("step-2", 2), "PASS")
    place.validate(place.checkpoint("step-3", 3), "PASS")
    assert place.plan(place.checkpoint("step-2", 2)) == second
    assert place.plan(place.checkpoint("step-1", 1)) == first
    assert first.baseline is None


def test_a_checkpoint_overwritten_in_place_is_compared_with_the_last_accepted_one(place: Place) -> None:
    place.validate(place.checkpoint("step-1", 1), "PASS")
    second = place.validate(place.checkpoint("step-2", 2), "PASS")
    baseline = place.plan(place.checkpoint("step-1", 9)).baseline
    assert baseline
    assert baseline.run_id == second.run_id


def test_a_baseline_by_name(place: Place) -> None:
    first_uri, second_uri = place.checkpoint("step-1", 1), place.checkpoint("step-2", 2)
    first = place.validate(first_uri, "FAIL")
    place.validate(second_uri, "PASS")
    candidate = place.checkpoint("step-3", 3)
    assert place.plan(candidate, "none").baseline is None
    for baseline_name in (first_uri, first_uri + "/", first.run_uri):
        baseline = place.plan(candidate, baseline_name).baseline
        assert baseline
        assert baseline.run_id == first.run_id
    place.suite({"gate": {"baseline": "none"}})
    assert place.plan(candidate).baseline is None
    place.suite({"gate": {"baseline": first_uri}})
    baseline = place.plan(candidate).baseline
    assert baseline
    assert baseline.run_id == first.run_id


def test_asking_for_no_baseline_once_is_not_for_ever(place: Place) -> None:
    accepted_spec = place.validate(place.checkpoint("step-1", 1), "PASS")
    candidate = place.checkpoint("step-2", 2)
    place.suite({"gate": {"baseline": "none"}})
    place.validate(candidate, "PASS")
    place.suite({"gate": {"baseline": "last-accepted"}})
    baseline = place.plan(candidate).baseline
    assert baseline
    assert baseline.run_id == accepted_spec.run_id


def test_an_unknown_baseline(place: Place) -> None:
    place.validate(place.checkpoint("step-1", 1), "PASS")
    with pytest.raises(InputError) as error:
        place.plan(place.checkpoint("step-2", 2), "/models/step-x")
    assert str(error.value) == (
        "baseline /models/step-x: no record of it in suite nightly with these images and this prompt; validate it first"
    )


def test_a_source_means_the_same_with_a_slash_at_its_end(place: Place) -> None:
    model = place.checkpoint("step-1")
    before = place.plan(model)
    place.suite({"dataset": {"source": f"{place.images}/"}})
    assert place.plan(model).golden_id == before.golden_id


def test_an_invalid_spec(tmp_path: Path) -> None:
    uri = str(tmp_path / "spec.json")
    with pytest.raises(InputError, match=r"nothing is there; make it with python -m ray_jobs.plan"):
        specs.load_spec(uri)
    for text in ("{}", "<html>"):
        objects.write(uri, text.encode())
        with pytest.raises(InputError, match="not a spec of this version"):
            specs.load_spec(uri)


def test_the_command_prints_the_uri_or_one_line(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--suite", str(place.file), "--root", place.root, "--checkpoint"]
    assert cli.main(["plan", *arguments, place.checkpoint("step-1")]) == 0
    printed = capsys.readouterr().out.strip()
    assert json.loads(Path(printed).read_text())["checkpoint"]["name"] == "step-1"
    assert cli.main(["plan", *arguments, os.devnull + "/x"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_json_output_has_the_ids_and_places(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--suite", str(place.file), "--root", place.root, "--checkpoint", place.checkpoint("step-1"), "--json"]
    assert cli.main(["plan", *arguments]) == 0
    answer = json.loads(capsys.readouterr().out)
    spec = specs.load_spec(answer["spec_uri"])
    assert answer == {
        "spec_uri": spec.uri, "run_uri": spec.run_uri, "run_id": spec.run_id, "golden_id": spec.golden_id,
        "caption_id": spec.caption_id, "series_id": spec.series_id,
    }  # fmt: skip


def test_trouble_is_one_line_and_exit_code_1(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def down(uri: str, data: bytes) -> None:
        raise RetryableError(f"cannot write {uri}: the store is down")

    arguments = ["--suite", str(place.file), "--root", place.root, "--checkpoint", place.checkpoint("step-1")]
    monkeypatch.setattr(objects, "write", down)
    assert cli.main(["plan", *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.endswith("spec.json: the store is down\n")
    assert printed.err.count("\n") == 1


def test_an_upgrade_of_assay_is_distinguished_from_a_new_suite(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.suite({"gate": {"metrics": {"chrf": {"margin": 1}}}})
    old, new = place.checkpoint("step-1"), place.checkpoint("step-2", fill=1)
    first = place.validate(old, "PASS")
    assert first.predecessor is None
    monkeypatch.setattr(spec, "CAPTION_VERSION", spec.CAPTION_VERSION + 1)
    inconclusive = place.validate(new, "INCONCLUSIVE")
    assert inconclusive.has_lost_baseline
    assert specs.load_spec(inconclusive.uri) == inconclusive
    assert place.plan(new) == inconclusive, "asked again, it waits still"
    accepted_spec = place.validate(old, "PASS")
    assert not accepted_spec.has_lost_baseline
    newer_spec = place.plan(new)
    assert newer_spec.baseline
    assert newer_spec.baseline.run_id == accepted_spec.run_id
    assert not place.plan(new, "none").has_lost_baseline


def test_planning_lists_the_series_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """On S3 each 1,000 runs of the series are one request more."""
    place.suite({"gate": {"metrics": {"repetition": {"margin": 0.1}}, "anchor": "first"}})
    for number in range(3):
        place.validate(place.checkpoint(f"step-{number}", number), "PASS")
    iterate_entries = object_listing.iterate_entries
    index_listings: list[str] = []

    def iterate_noted(prefix: str, *arguments: Any, **options: Any) -> Iterator[object_listing.Entry]:
        if "/index/" in prefix:
            index_listings.append(prefix)
        return iterate_entries(prefix, *arguments, **options)

    monkeypatch.setattr(object_listing, "iterate_entries", iterate_noted)
    planned_spec = place.plan(place.checkpoint("step-3", 3))
    assert planned_spec.baseline is not None
    assert planned_spec.anchor is not None
    assert (planned_spec.baseline.checkpoint.name, planned_spec.anchor.checkpoint.name) == ("step-2", "step-0")
    assert len(index_listings) == 1
    index_listings.clear()
    named_spec = place.plan(place.checkpoint("step-3", 3), place.checkpoint("step-1", 1))
    assert named_spec.baseline is not None
    assert (named_spec.baseline.checkpoint.name, named_spec.anchor) == ("step-1", planned_spec.anchor)
    assert len(index_listings) <= 2, "the series, and the suite for the index file's lines"
