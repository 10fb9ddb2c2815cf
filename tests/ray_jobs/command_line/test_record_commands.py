"""`assay records`: its listings for people and as JSON, with any names in the records."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from samples import make_baseline, make_record, make_spec
from stored_runs import CaptionResult, Image, write_golden, write_run, write_scores

from ray_jobs import cli
from ray_jobs.contract.artifacts import Record
from ray_jobs.contract.spec import Spec
from ray_jobs.storage import objects, records

HOSTILE = "step\x1b[31m\n2"


def publish(spec: Spec, day: int, outcome: str = "PASS", reason: str = "as told") -> Record:
    """Publish a record with one metric that has values and another without values."""
    images = [Image(f"{number}.png") for number in range(4)]
    results = [CaptionResult(values={"words": 4.0 + number, "empty": None}) for number in range(4)]
    write_golden(spec, images)
    scores = write_scores(spec, write_run(spec, spec.caption_id, images, results), results)
    of = make_record(spec, outcome, datetime(2026, 11, day, 2, 30, tzinfo=UTC), reason)
    return records.publish(spec.root, of.model_copy(update={"metrics": scores.metrics}))


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Record, Record]:
    root = str(tmp_path / "root")
    first = publish(make_spec(root=root), 1)
    second = make_spec(root=root, fingerprint="b" * 16, called=HOSTILE).model_copy(
        update={"baseline": make_baseline(make_spec(root=root))}
    )
    return first, publish(second, 2, "FAIL", "words 4 worse\x1b[31m")


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out.splitlines()


def test_runs_are_listed_oldest_first(
    runs: tuple[Record, Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["records", "list", "--root", str(tmp_path / "root")]) == 0
    header, *record_lines = lines(capsys)
    assert header.split() == ["published", "suite", "verdict", "checkpoint", "run"]
    assert [line.split()[:4] for line in record_lines] == [
        ["2026-11-01", "02:30", "small", "PASS"],
        ["2026-11-02", "02:30", "small", "FAIL"],
    ]
    assert record_lines[0].endswith(runs[0].run_uri)
    assert "step\\x1b[31m\\x0a2" in record_lines[1]
    assert len({line.index(run.run_uri) for line, run in zip(record_lines, runs, strict=True)}) == 1  # aligned


def test_a_list_for_a_program(
    runs: tuple[Record, Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ASSAY_ROOT", str(tmp_path / "root"))
    assert cli.main(["records", "list", "--suite", "small", "--json"]) == 0
    record_list = json.loads(capsys.readouterr().out)
    assert [(line["suite"], line["outcome"], line["run_uri"]) for line in record_list] == [
        ("small", run.verdict.outcome, run.run_uri) for run in runs
    ]
    assert record_list[1]["checkpoint"]["name"] == HOSTILE
    assert record_list[0]["means"] == {"words": [5.5, 0.645497]}
    assert cli.main(["records", "list", "--suite", "other", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_run_is_shown(runs: tuple[Record, Record], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["records", "show", f"{runs[1].run_uri}/record.json"]) == 0
    page = lines(capsys)
    assert page[0] == "checkpoint  step\\x1b[31m\\x0a2  /models/step\\x1b[31m\\x0a2"
    assert page[1:7] == [
        "suite       small",
        "published   2026-11-02 02:30 UTC",
        "verdict     FAIL: words 4 worse\\x1b[31m",
        "decisions   none",
        f"baseline    {runs[0].run_uri}",
        "anchor      none",
    ]
    assert f"report      {runs[1].run_uri}/report.html" in page
    table = [line.split() for line in page[page.index("") + 1 :]]
    assert table == [
        ["metric", "mean", "error", "images", "unit"],
        ["words", "5.5", "0.645497", "4", "words"],
        ["empty", "-", "-", "0", "share", "of", "captions"],
    ]
    assert cli.main(["records", "show", runs[1].run_uri, "--json"]) == 0
    assert Record.model_validate_json(capsys.readouterr().out) == runs[1]


def test_a_store_that_was_moved_is_shown_where_it_is(
    runs: tuple[Record, Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.move(tmp_path / "root", tmp_path / "moved")
    run_uri = runs[0].run_uri.replace("/root/", "/moved/")
    assert cli.main(["records", "show", run_uri]) == 0
    assert f"run         {run_uri}" in lines(capsys)


def test_what_is_no_record_is_one_line(
    runs: tuple[Record, Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    objects.write(f"{runs[0].run_uri}/record.json", b"{}")
    for uri, line in (
        (f"{tmp_path}/none", f"run {tmp_path}/none: no record.json there; name a published run's folder or its "),
        (runs[0].run_uri, f"{runs[0].run_uri}/record.json: not a record of this version (ValidationError); publish "),
    ):
        assert cli.main(["records", "show", uri]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith(line)
        assert printed.err.count("\n") == 1


def test_json_output_of_rebuild_lists_what_it_left_out(
    runs: tuple[Record, Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    objects.write(f"{runs[0].run_uri}/record.json", b"{}")
    assert cli.main(["records", "rebuild", str(tmp_path / "root"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["indexed"] == 1
    (line,) = answer["left_out"]
    assert line.startswith(f"{runs[0].run_uri}/record.json: ")


def test_a_person_overrules_a_verdict_and_the_record_shows_it(
    runs: tuple[Record, Record], capsys: pytest.CaptureFixture[str]
) -> None:
    accept = ["records", "decide", runs[1].run_uri, "--accept", "--reason", "dropped\x1b[31m anyway", "--by", "ada"]
    assert cli.main(accept) == 0
    assert lines(capsys)[0].startswith("FAIL accepted by ada, 20")
    assert cli.main(["records", "show", runs[1].run_uri]) == 0
    page = lines(capsys)
    (line,) = [line for line in page if line.startswith("decisions ")]
    assert line.endswith(" UTC: dropped\\x1b[31m anyway")
    assert "verdict     FAIL: words 4 worse\\x1b[31m" in page  # as measured
    assert cli.main([*accept[:3], "--reason", "x"]) == 2
    assert "--accept" in capsys.readouterr().err
    assert cli.main(["records", "decide", runs[1].run_uri, "--reject", "--reason", " "]) == 2
    assert "its reason has 0 characters" in capsys.readouterr().err
