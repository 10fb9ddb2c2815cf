import json
import os
import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from samples import checkpoint_files, encode_shard, make_record, upload, write_pictures

from ray_jobs import cli, plan
from ray_jobs.checkpoints.errors import Incomplete
from ray_jobs.contract import spec
from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.contract.spec import Spec
from ray_jobs.dataset import revision
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.planning import suites
from ray_jobs.storage import object_listing, objects, records, specs


class Place:
    """A root, a suite and checkpoints to plan with."""

    def __init__(self, folder: Path) -> None:
        self.root = str(folder / "root")
        self.images = write_pictures(folder / "images", 2)
        self.folder = folder
        self.suite({})

    def suite(self, settings: dict[str, object]) -> None:
        self.file = self.folder / "nightly.yaml"
        self.file.write_text(yaml.safe_dump({"name": "nightly", "dataset": {"source": "images"}} | settings))

    def checkpoint(self, name: str, fill: int = 0) -> str:
        files = checkpoint_files() | {"model-00002-of-00002.safetensors": encode_shard({"b": bytes([fill]) * 100})}
        return upload(str(self.folder / "models" / name), files)

    def plan(self, checkpoint: str, baseline: str | None = None, force: str | None = None) -> Spec:
        return plan.plan(self.root, str(self.file), checkpoint, baseline, force, by_hand=True)

    def validate(self, checkpoint: str, outcome: str, baseline: str | None = None) -> Spec:
        planned_spec = self.plan(checkpoint, baseline)
        records.publish(self.root, make_record(planned_spec, outcome))
        return planned_spec


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


# --- the baseline -----------------------------------------------------------------------------------------------------


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


# --- the suite --------------------------------------------------------------------------------------------------------


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


# --- the source -------------------------------------------------------------------------------------------------------


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


def test_a_source_means_the_same_with_a_slash_at_its_end(place: Place) -> None:
    model = place.checkpoint("step-1")
    before = place.plan(model)
    place.suite({"dataset": {"source": f"{place.images}/"}})
    assert place.plan(model).golden_id == before.golden_id


# --- specs and the command line ---------------------------------------------------------------------------------------


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


def test_the_suites_own_metrics_travel_in_the_spec(place: Place) -> None:
    model = place.checkpoint("step-1")
    (place.folder / "politeness.py").write_text("METRIC = 1\n")
    (place.folder / "names.json").write_text('{"cat": ["kitten", "tom"]}')
    place.suite({"metrics": {"own": ["politeness.py"], "synonyms": "names.json", "clip": place.checkpoint("clip")}})
    planned_spec = place.plan(model)
    assert planned_spec.own_metrics == {"politeness": "METRIC = 1\n"}
    assert planned_spec.synonyms == {"cat": ("kitten", "tom")}
    assert planned_spec.clip
    assert planned_spec.clip.name == "clip"
    (place.folder / "politeness.py").write_text("METRIC = 2\n")
    changed_spec = place.plan(model)
    assert (changed_spec.scoring_id != planned_spec.scoring_id, changed_spec.caption_id) == (
        True,
        planned_spec.caption_id,
    )


@pytest.mark.parametrize(
    ("settings", "text", "message"),
    [
        ({"own": ["x.py"]}, None, "metric .*x.py: no such file; correct the suite"),
        ({"own": ["x.py"]}, b"\xff\xfe", "metric .*x.py: not UTF-8 text; correct the file"),
        ({"synonyms": "x.py"}, None, "synonyms .*x.py: no such file; correct the suite"),
        (
            {"synonyms": "x.py"},
            b"[1]",
            "synonyms .*x.py: not a JSON object of lists of names by label; correct the file",
        ),
        ({"synonyms": "x.py"}, b'{"a": "b"}', "synonyms .*x.py: not a JSON object of lists"),
    ],
)
def test_files_that_the_metrics_need(
    place: Place, settings: dict[str, object], text: bytes | None, message: str
) -> None:
    if text is not None:
        (place.folder / "x.py").write_bytes(text)
    place.suite({"metrics": settings})
    with pytest.raises(InputError, match=message):
        place.plan(place.checkpoint("step-1"))


def test_a_judge_behind_an_endpoint_is_no_checkpoint(place: Place) -> None:
    place.suite({"judge": {"kind": "openai", "model": "judge-1", "base_url": "http://127.0.0.1:1/v1"}})
    planned_spec = place.plan(place.checkpoint("step-1"))
    assert (planned_spec.judge, planned_spec.suite.judge.model) == (None, "judge-1")


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
