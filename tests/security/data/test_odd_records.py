"""One odd record, index line, entry, key or spec does not affect the others: index, rebuild, baselines, trend,
compare."""

import json
import logging
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from samples import make_record, make_spec

from ray_jobs import cli
from ray_jobs.contract.artifacts import Record, Summary
from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.report import plots
from ray_jobs.report import trend as series
from ray_jobs.storage import baselines, index, index_rebuild, object_listing, objects, records

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("AWS_", "ASSAY_")):
            monkeypatch.delenv(name)


def make_numbered_spec(root: Path, number: int, **settings: Any) -> Spec:
    return make_spec(root=str(root), fingerprint=f"{number:016x}", called=f"step-{number}", **settings)


def publish(root: Path, number: int, outcome: str = "PASS", **fields: Any) -> Spec:
    spec = make_numbered_spec(root, number)
    record = make_record(spec, outcome, NOON + timedelta(minutes=number)).model_copy(update=fields)
    objects.write(spec.uri, spec.model_dump_json().encode())
    records.publish(str(root), record)
    return spec


def names(loaded_index: index.Index) -> list[str]:
    return [line.checkpoint.name for line in loaded_index.records.values()]


def record_bytes(spec: Spec, **fields: Any) -> bytes:
    """The record of a run as JSON, with some of it changed."""
    content = json.loads(make_record(spec, published_at=NOON).model_dump_json())
    for path, value in fields.items():
        place, keys = content, path.split("__")
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
    return json.dumps(content).encode()


def summary(**fields: Any) -> dict[str, Any]:
    values = {"n": 1, "expected": 1, "mean": 1.0, "standard_error": 0.1, "low": 0.0, "high": 2.0}
    return {"words": values | fields}


ODD = {
    "empty": lambda spec: b"",
    "no JSON": lambda spec: b"{",
    "null": lambda spec: b"null",
    "an array": lambda spec: b"[]",
    "a number": lambda spec: b"7",
    "binary": lambda spec: bytes(range(256)),
    "UTF-16": lambda spec: record_bytes(spec).decode().encode("utf-16"),
    "cut": lambda spec: record_bytes(spec)[:-20],
    "nested arrays": lambda spec: b"[" * 100_000 + b"]" * 100_000,
    "nested objects": lambda spec: b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "half a surrogate": lambda spec: record_bytes(spec).replace(b"as told", b"\\ud800"),
    "a number of 5,000 digits": lambda spec: record_bytes(spec, images={"read": 7}).replace(b"7", b"9" * 5_000),
    "an array of a million": lambda spec: b"[" + b"0," * 1_000_000 + b"0]",
    "no verdict": lambda spec: record_bytes(spec, verdict=None),
    "an outcome of a newer Assay": lambda spec: record_bytes(spec, verdict__outcome="MAYBE"),
    "a checkpoint that is a text": lambda spec: record_bytes(spec, checkpoint="step-1"),
    "metrics an array": lambda spec: record_bytes(spec, metrics=[]),
    "a metric null": lambda spec: record_bytes(spec, metrics={"words": None}),
    "images an array": lambda spec: record_bytes(spec, images=[1]),
    "a time that is none": lambda spec: record_bytes(spec, published_at="yesterday"),
    "the year 1": lambda spec: record_bytes(spec, published_at="0001-01-01T00:00:00Z"),
    "a suite above": lambda spec: record_bytes(spec, suite="../../outside"),
    "a suite by its path": lambda spec: record_bytes(spec, suite="/tmp/outside"),
    "a suite of no name": lambda spec: record_bytes(spec, suite=""),
    "a suite with a newline": lambda spec: record_bytes(spec, suite="small\n"),
    "a suite with a null byte": lambda spec: record_bytes(spec, suite="small\0"),
    "a suite of 5,000 letters": lambda spec: record_bytes(spec, suite="s" * 5_000),
    "a series above": lambda spec: record_bytes(spec, series_id="../../outside"),
    "a series with a slash": lambda spec: record_bytes(spec, series_id="a/b"),
    "a series of 5,000 letters": lambda spec: record_bytes(spec, series_id="s" * 5_000),
    "another run's id": lambda spec: record_bytes(spec, run_id="0" * 16),
    "a run id above": lambda spec: record_bytes(spec, run_id="../../outside"),
    "another checkpoint's name": lambda spec: record_bytes(spec, checkpoint__name="another"),
    "another checkpoint's weights": lambda spec: record_bytes(spec, checkpoint__fingerprint="f" * 16),
}
ODD_FILES = ["a folder", "a link to itself", "a link to nothing", "a FIFO", "unreadable"]


def plant(file: Path, kind: str) -> None:
    """Put an odd object of the file system in place of a file."""
    file.unlink(missing_ok=True)
    if kind == "a folder":
        file.mkdir()
    elif kind == "a FIFO":
        os.mkfifo(file)
    elif kind == "unreadable":
        file.symlink_to("/proc/self/mem")
    else:
        file.symlink_to(file if kind == "a link to itself" else "/nowhere/at/all")


def assert_nothing_written_elsewhere(root: Path) -> None:
    known = {"runs", "index", "decisions"}
    assert {path.name for path in root.iterdir()} <= known
    assert {path.name for path in root.parent.iterdir()} == {root.name}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("make", ODD.values(), ids=ODD.keys())
def test_rebuilding_leaves_an_odd_record_out_and_names_it(make: Any, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for number in (1, 2, 3):
        publish(root, number)
    odd = make_numbered_spec(root, 2)
    objects.write(f"{odd.run_uri}/record.json", make(odd))
    count, left_out = index_rebuild.rebuild_index(str(root))
    assert count == 2
    [line] = left_out
    assert line.startswith(f"{odd.run_uri}/record.json: ")
    assert line.isprintable()
    assert len(line) < 1000
    assert names(index.load(str(root), "small")) == ["step-1", "step-3"]
    assert_nothing_written_elsewhere(root)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("where", ["the record", "its entry"])
def test_what_is_a_gigabyte_is_not_read(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    specs = [publish(root, number) for number in (1, 2)]
    huge = f"{specs[1].run_uri}/record.json"
    if where == "its entry":
        huge = index.entry_uri(str(root), records.read(specs[1].run_uri))
    os.truncate(huge, 1 << 30)
    real_read = objects.read
    unbounded = lambda uri, *most: pytest.fail("read") if uri == huge and not most else real_read(uri, *most)  # noqa: E731
    monkeypatch.setattr(objects, "read", unbounded)
    count, left_out = index_rebuild.rebuild_index(str(root))
    assert (count, len(left_out)) == ((1, 1) if where == "the record" else (2, 0))
    assert names(index.load(str(root), "small"))[0] == "step-1"


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ODD_FILES)
def test_rebuilding_leaves_an_odd_file_out_and_names_it(kind: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for number in (1, 2):
        publish(root, number)
    plant(Path(make_numbered_spec(root, 2).run_uri, "record.json"), kind)
    count, _ = index_rebuild.rebuild_index(str(root))
    assert count == 1
    assert names(index.load(str(root), "small")) == ["step-1"]


KEYS = [
    "runs/x/record.json",
    "runs/record.json",
    "runs/a/b/c/d/record.json",
    "runs/a b/c/record.json",
    "runs/a\nb/c/record.json",
    "runs/\x1b[2J/c/record.json",
    os.fsdecode(b"runs/\xff/c/record.json"),
    "runs/step-1-00000001/../x/record.json",
    "index/small/..--..--..--PASS.json/x",
    "index/a\nb/s/20260101T120000.000000Z--x--y--PASS.json",
    os.fsdecode(b"index/\xff/s/20260101T120000.000000Z--x--y--PASS.json"),
    "index/small/s/20260101T120000.000000Z--x--y--PASS.json",
    "index/small/s/20260101T120000.000000Z--..--..--PASS.json",
    "index/small/s/99999999T999999.999999Z--x--y--PASS.json",
    "index/small/s/zzzz--x--y--PASS.json",
    "index/small/s/20260101T120000.000000Z--x y--z--PASS.json",
    "index/small/s/20260101T120000.000000Z--x\n--z--PASS.json",
    os.fsdecode(b"index/small/\xff/20260101T120000.000000Z--x--y--PASS.json"),
    "index/small/s/20260101T120000.000000Z--x--y--MAYBE.json",
    "index/small/index.json/x",
    "index/other/index.json/x",
]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("key", KEYS, ids=ascii)
def test_a_hostile_key_stops_neither_rebuild_nor_index_nor_trend(key: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    spec, _ = publish(root, 1), publish(root, 2)
    file = root / key
    if key == "index/small/index.json/x":
        (root / "index/small/index.json").unlink()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"{}")
    own_entry = series.describe_run(spec.checkpoint, spec.scoring_id, None, {})
    for _ in range(2):
        assert names(index.load_complete(str(root), "small")) == ["step-1", "step-2"]
        assert series.build_trend(str(root), "small", spec.series_id, own_entry, ["words"]) == {"words": []}
        assert baselines.find_baseline(make_numbered_spec(root, 9), "last-accepted") is not None
        count, left_out = index_rebuild.rebuild_index(str(root))
        assert count == 2
        assert all(line.isprintable() for line in left_out)


LINES: dict[str, Any] = {
    "null": None,
    "a text": "x",
    "an array": [],
    "an object of nothing": {},
    "a run id that is a number": {"run_id": 7},
    "means an array": {"means": []},
    "a mean null": {"means": {"words": None}},
    "a mean of three": {"means": {"words": [1, 2, 3]}},
    "a mean that is a text": {"means": {"words": ["x", "y"]}},
    "a time that is none": {"published_at": "x"},
    "an outcome of a newer Assay": {"outcome": "MAYBE"},
    "a checkpoint null": {"checkpoint": None},
    "a checkpoint nested": {"checkpoint": {"base": {"base": {"base": 7}}}},
}


@pytest.mark.parametrize("change", LINES.values(), ids=LINES.keys())
def test_an_odd_line_of_the_index_file_is_read_from_its_entry(change: Any, tmp_path: Path) -> None:
    root = str(tmp_path)
    for number in (1, 2, 3):
        publish(tmp_path, number)
    file = tmp_path / "index" / "small" / "index.json"
    content = json.loads(file.read_text())
    key = list(content["records"])[1]
    entry = content["records"][key]
    content["records"][key] = {**entry, **change} if change and isinstance(change, dict) else change
    file.write_text(json.dumps(content))
    assert names(index.load(root, "small")) == ["step-1", "step-3"], "the others are read from the file"
    assert names(index.load_complete(root, "small")) == ["step-1", "step-2", "step-3"]
    publish(tmp_path, 4)
    assert names(index.load(root, "small")) == ["step-1", "step-2", "step-3", "step-4"]


def test_a_line_of_a_newer_version_is_read_as_far_as_it_is_known(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    file = tmp_path / "index" / "small" / "index.json"
    content = json.loads(file.read_text())
    for line in content["records"].values():
        line["new"] = {"a": [1]}
    file.write_text(json.dumps(content))
    assert names(index.load(str(tmp_path), "small")) == ["step-1"]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("make", ODD.values(), ids=ODD.keys())
def test_an_odd_entry_is_read_from_its_run_and_an_odd_run_beside_it_left_out(make: Any, tmp_path: Path) -> None:
    root = str(tmp_path)
    specs = [publish(tmp_path, number) for number in (1, 2)]
    entry = index.entry_uri(root, records.read(specs[1].run_uri))
    objects.write(entry, make(specs[1]))
    objects.delete(f"{root}/index/small/index.json")
    if make(specs[1]) != record_bytes(specs[1]):
        assert names(index.load_complete(root, "small")) == ["step-1", "step-2"]
    objects.write(f"{specs[1].run_uri}/record.json", make(specs[1]))
    assert names(index.load_complete(root, "small"))[0] == "step-1"
    publish(tmp_path, 3)
    assert names(index.load(root, "small"))[-1] == "step-3"


@pytest.mark.timeout(30)
@pytest.mark.parametrize("make", ODD.values(), ids=ODD.keys())
def test_an_odd_record_gives_way_to_the_baseline_before_it(
    make: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    specs = [publish(tmp_path, number) for number in (1, 2)]
    objects.write(f"{specs[1].run_uri}/record.json", make(specs[1]))
    candidate = make_numbered_spec(tmp_path, 9)
    with caplog.at_level(logging.WARNING, "assay"):
        baseline = baselines.find_baseline(candidate, "last-accepted")
    if baseline and baseline.run_id == specs[1].run_id:
        assert json.loads(make(specs[1]))["run_id"] == specs[1].run_id, "only what is readable is a baseline"
    else:
        assert baseline
        assert baseline.run_id == specs[0].run_id
        assert specs[1].run_uri in caplog.text
    assert baselines.find_baseline(candidate, specs[0].run_uri) is not None


def test_where_no_accepted_record_is_readable_there_is_not_nothing_to_compare_with(tmp_path: Path) -> None:
    specs = [publish(tmp_path, number) for number in (1, 2)]
    for spec in specs:
        objects.write(f"{spec.run_uri}/record.json", b"{}")
    with pytest.raises(InputError, match="step-2"):
        baselines.find_baseline(make_numbered_spec(tmp_path, 9), "last-accepted")


def test_an_entry_with_a_false_pass_is_no_baseline(tmp_path: Path) -> None:
    accepted_spec, failed = publish(tmp_path, 1), publish(tmp_path, 2, "FAIL")
    entry = index.list_entries(str(tmp_path), "small")[-1]
    objects.write(
        index.uri_of(str(tmp_path), entry._replace(outcome="PASS")),
        make_record(failed, "PASS").model_dump_json().encode(),
    )
    baseline = baselines.find_baseline(make_numbered_spec(tmp_path, 9), "last-accepted")
    assert baseline is not None
    assert baseline.run_id == accepted_spec.run_id


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b""], ids=ascii)
def test_an_odd_spec_of_an_earlier_request_stops_no_plan(content: bytes, tmp_path: Path) -> None:
    publish(tmp_path, 1)
    again = publish(tmp_path, 2)
    for name in ("spec.json", "spec-force.json"):
        objects.write(f"{again.run_uri}/{name}", content)
    (Path(again.run_uri) / "spec-folder.json").mkdir()
    baseline = baselines.find_baseline(make_numbered_spec(tmp_path, 2), "last-accepted")
    assert baseline is not None
    assert baseline.checkpoint.name == "step-1"


def raise_not_found(*_: Any, **__: Any) -> Any:
    raise RetryableError("cannot read s3://c: 503 SlowDown")


def test_an_outage_is_not_an_empty_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path, 1)
    for module, function in (
        (object_listing, "iterate_entries"), (object_listing, "list_subfolders"), (objects, "read"),
    ):  # fmt: skip
        monkeypatch.setattr(module, function, raise_not_found)
    for call in (
        lambda: index.load(str(tmp_path), "small"),
        lambda: index.load_complete(str(tmp_path), "small"),
        lambda: index_rebuild.rebuild_index(str(tmp_path)),
        lambda: baselines.find_baseline(make_numbered_spec(tmp_path, 2), "last-accepted"),
    ):
        with pytest.raises(RetryableError):
            call()


MEANS = {
    "infinite": {"mean": float("inf")},
    "not a number": {"mean": float("nan")},
    "as large as can be": {"mean": 1.7e308},
    "a negative error": {"standard_error": -1.0},
    "an infinite error": {"standard_error": float("inf")},
    "an error as large as can be": {"standard_error": 1.7e308},
    "none": {"mean": None},
}


@pytest.mark.parametrize("change", MEANS.values(), ids=MEANS.keys())
def test_an_odd_value_of_another_run_costs_no_report(change: dict[str, Any], tmp_path: Path) -> None:
    values = {metric: Summary(**fields) for metric, fields in summary(**change).items()}
    publish(tmp_path, 1, metrics=values)
    spec = publish(tmp_path, 2, metrics={metric: Summary(**fields) for metric, fields in summary().items()})
    own_entry = series.describe_run(spec.checkpoint, spec.scoring_id, "PASS", {"words": Summary(**summary()["words"])})
    points = series.build_trend(str(tmp_path), "small", spec.series_id, own_entry, ["words"])["words"]
    assert points[-1].is_current
    assert "<svg" in plots.draw_trend(points)


RUNS = {
    "no JSON": b"{",
    "an array": b"[]",
    "nested": b"[" * 100_000,
    "binary": b"\xff\xfe\x00",
    "null": b"null",
    "of a newer Assay": b'{"schema": 99}',
}


@pytest.mark.parametrize("file", ["record.json", "spec.json", "scores.json"])
@pytest.mark.parametrize("content", RUNS.values(), ids=RUNS.keys())
def test_comparing_with_an_odd_run_ends_in_one_line(
    content: bytes, file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = publish(tmp_path, 1)
    objects.write(f"{spec.run_uri}/{file}", content)
    assert cli.main(["compare", spec.run_uri, spec.run_uri, "--output", str(tmp_path / "page.html")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    assert spec.run_uri in line


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ODD_FILES)
def test_comparing_with_a_run_of_odd_files_ends_in_one_line(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = publish(tmp_path, 1)
    plant(Path(spec.run_uri, "record.json"), kind)
    assert cli.main(["compare", spec.run_uri, spec.run_uri, "--output", str(tmp_path / "page.html")]) in (1, 2)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_record_is_what_the_attacks_change(tmp_path: Path) -> None:
    spec = make_numbered_spec(tmp_path, 1)
    assert Record.model_validate_json(record_bytes(spec)) == make_record(spec, published_at=NOON)
