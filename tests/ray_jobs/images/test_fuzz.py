"""The fuzzer runs, finds nothing in our decoder, and finds planted faults."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is for the data plane, and is not here"),
]
ROOT = Path(__file__).parents[3]
BROKEN_RESIZE = Path(__file__).with_name("broken_resize")


def run_fuzzer(findings: Path, executions: int, *first_on_path: str) -> tuple[int, dict[str, int]]:
    """The exit status and the counts of the table."""
    process = subprocess.run(
        [sys.executable, "-m", "dev.fuzz_decode", f"--executions={executions}", f"--findings={findings}"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([*first_on_path, str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=600,
    )
    lines = [line.rsplit(maxsplit=1) for line in process.stdout.splitlines()]
    return process.returncode, {outcome: int(count) for outcome, count in lines if count.isdigit()}


def test_a_look_finds_nothing(tmp_path: Path) -> None:
    status, counts = run_fuzzer(tmp_path, 3000)
    assert (status, counts["findings"], counts["crashes"], list(tmp_path.iterdir())) == (0, 0, 0, [])
    assert counts["executions"] >= 3000
    assert counts["kept"] > 50
    assert counts["executions"] == sum(
        count for outcome, count in counts.items() if outcome == "kept" or outcome.startswith("rejected")
    )


def test_planted_crashes_are_found_and_survived(tmp_path: Path) -> None:
    findings = tmp_path / "findings"
    status, counts = run_fuzzer(findings, 100, str(BROKEN_RESIZE))
    assert status == 1
    assert counts["crashes"] >= 2  # a second child went on after the first
    assert counts["findings"] >= counts["crashes"]
    assert len([path for path in findings.glob("crash-*") if not path.suffix]) == counts["crashes"]
    assert len([path for path in findings.glob("KeyError-*") if not path.suffix]) == counts["findings"]
