"""`assay run`: one command from a checkpoint to its verdict, without Airflow."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from stage_jobs import DEMO, ENGINE, GOOD, PROMPT, ROOT, read_captions, take_snapshot

from ray_jobs import cli
from ray_jobs.command_line.run import VERDICTS
from ray_jobs.contract.artifacts import Outcome, Record
from ray_jobs.contract.spec import Spec


def suite_file(folder: Path, **sections: Any) -> Path:
    """A suite of six of the demo's drawn scenes. No checkpoint can pass it, because every caption has more than one
    word."""
    file = folder / "six.yaml"
    suite = {
        "name": "six",
        "dataset": {"source": str(DEMO / "images" / "scenes"), "limit": 6},
        "preprocess": {"max_pixels": 12544, "format": "png", "part_rows": 3},
        "caption": {"prompt": PROMPT, "max_tokens": 32},
        "engine": ENGINE,
        "gate": {"limits": {"words": {"max": 1}}},
    }
    file.write_text(yaml.safe_dump(suite | sections))
    return file


def assay(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "ray_jobs.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=600)


@pytest.mark.integration
def test_a_run_from_a_checkpoint_to_its_verdict_and_again(on_cluster: object, tmp_path: Path) -> None:
    """The verdict is in the last lines, in the exit code, and with --json alone on stdout. The second run reuses
    everything."""
    root, suite = tmp_path / "root", suite_file(tmp_path)
    result = assay("run", GOOD, "--suite", suite, "--root", root)
    assert result.returncode == VERDICTS["FAIL"] == 3, result.stdout + result.stderr
    *log, verdict, report = result.stdout.splitlines()
    stages = [line.split()[1] for line in log if ": complete in " in line]
    assert stages == ["preprocess:", "caption:", "evaluate:"]
    assert verdict.startswith("step-0800: FAIL: words ")
    page = Path(report.removeprefix("report: "))
    assert "<!doctype html" in page.read_text().lower()
    record = Record.model_validate_json((page.parent / "record.json").read_text())
    assert record.images["captioned"] == 6
    spec = Spec.model_validate_json((page.parent / "spec.json").read_text())
    assert len(read_captions(spec)) == 6

    before = take_snapshot(str(root))
    again = assay("run", GOOD, "--suite", suite, "--root", root, "--json")
    assert again.returncode == 3, again.stderr
    assert json.loads(again.stdout) == {
        "checkpoint": str(GOOD), "outcome": "FAIL", "reason": record.verdict.reason, "baseline": None,
        "run_uri": record.run_uri, "record_uri": f"{record.run_uri}/record.json", "report_uri": str(page),
    }  # fmt: skip
    assert "evaluate: complete in" in again.stderr
    after = take_snapshot(str(root))
    assert {key: sha for key, (sha, _) in after.items()} == {key: sha for key, (sha, _) in before.items()}
    rewritten = {key for key in after if after[key] != before[key]}
    assert all(key.startswith("index/") or key.endswith("/spec.json") for key in rewritten), rewritten
    listing = assay("records", "list", "--root", root)
    assert listing.stdout.splitlines()[1].endswith(record.run_uri)


def test_a_stage_that_fails_ends_the_run_with_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every stage refuses an unreadable request of Airflow. The first one does so, before Ray starts."""
    monkeypatch.setenv("ASSAY_AIRFLOW", "of another world")
    root = tmp_path / "root"
    assert cli.main(["run", str(GOOD), "--suite", str(suite_file(tmp_path)), "--root", str(root)]) == 2
    assert not (root / "golden").exists()
    assert not list(root.glob("runs/*/*/record.json"))
    assert capsys.readouterr().err == ""


def test_what_cannot_be_planned_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", str(tmp_path), "--suite", str(suite_file(tmp_path)), "--root", str(tmp_path / "root")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"checkpoint {tmp_path}: ")
    assert printed.err.count("\n") == 1


def test_every_verdict_has_a_code_of_its_own() -> None:
    assert set(VERDICTS) == set(get_args(Outcome))
    assert VERDICTS["PASS"] == 0
    assert len({*VERDICTS.values(), 1, 2}) == len(VERDICTS) + 2  # 1 and 2 say that there is no verdict


def test_forced_runs_are_requests_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each forced run has its own spec, because a repeated request of one name is not run again."""
    monkeypatch.setenv("ASSAY_AIRFLOW", "of another world")
    root = tmp_path / "root"
    for _ in range(2):
        cli.main(["run", str(GOOD), "--suite", str(suite_file(tmp_path)), "--root", str(root), "--force"])
    specs = [Spec.model_validate_json(file.read_text()) for file in root.glob("runs/*/*/spec-by-hand-*.json")]
    assert len({spec.force for spec in specs}) == 2
    assert len({spec.run_id for spec in specs}) == 1
