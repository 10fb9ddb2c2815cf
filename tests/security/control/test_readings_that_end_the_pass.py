"""The router notes a checkpoint before it reads it, so a checkpoint that ended two passes is not read by the third."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest
from assay_airflow.quarantine import Quarantine
from odd_folders import write

from ray_jobs.inputs.errors import RetryableError

REPO = Path(__file__).parents[3]
PASS = Path(__file__).with_name("killed_pass.py")


@pytest.fixture
def deployment(tmp_path: Path) -> Path:
    """Three checkpoints; by name the deadly one is the second."""
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "small.yaml").write_text("name: small\ndataset: {source: /data/images}\n")
    for name in ("a", "deadly", "z"):
        write(tmp_path / "in" / name, {})
    return tmp_path


@pytest.fixture(scope="module")
def passes() -> Iterator[subprocess.Popen[str]]:
    """The process that runs a pass for each line of its input."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ASSAY_"))}
    with subprocess.Popen(
        [sys.executable, str(PASS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=variables | {"PYTHONPATH": f"{REPO}:{REPO}/plugins"},
    ) as process:
        yield process


RunPass = Callable[[Path, str], tuple[int, list[str], dict[str, Any]]]


@pytest.fixture
def run_pass(passes: subprocess.Popen[str]) -> RunPass:
    """Runs a pass; returns its exit code, the checkpoints that it read, and its result if it came to its end."""

    def run(deployment: Path, ending: str) -> tuple[int, list[str], dict[str, Any]]:
        output = deployment / "output"
        request = {
            "root": str(deployment / "root"),
            "checkpoints": str(deployment / "in"),
            "suites": str(deployment / "suites"),
            "ending": ending,
            "output": str(output),
        }
        assert passes.stdin
        assert passes.stdout
        print(json.dumps(request), file=passes.stdin, flush=True)
        code, text = int(passes.stdout.readline()), output.read_text()
        # another thread's unbuffered line may lack its end when this one is printed
        checkpoints = [Path(uri).name for uri in re.findall(r"reading (\S+)\n", text)]
        return code, checkpoints, json.loads(text.splitlines()[-1]) if code == 0 else {}

    return run


def read_notes(deployment: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in (deployment / "root" / "quarantine").glob("*.json")]


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["kill -9", "a crash", "Airflow's timeout"])
def test_the_third_pass_skips_a_checkpoint_that_ended_two_passes(
    deployment: Path, run_pass: RunPass, ending: str
) -> None:
    for failures in (1, 2):
        code, read, _ = run_pass(deployment, ending)
        assert code != 0
        assert "deadly" in read
        by_name = {Path(note["uri"]).name: note for note in read_notes(deployment)}
        assert by_name["deadly"]["failures"] == failures
        assert "never came back" in by_name["deadly"]["why"]
        # another may have been under way beside it: once, because a second time it is read alone
        assert all(note["failures"] == 1 for name, note in by_name.items() if name != "deadly")
    code, read, summary = run_pass(deployment, ending)
    assert code == 0
    assert "deadly" not in read
    assert summary["requests"] == 2, "the others are validated"
    assert (
        "in quarantine after 2 failures (its reading was begun and never came back" in summary["passed_over"]["deadly"]
    )
    (deployment / "in" / "deadly" / "config.json").write_text('{"architectures": ["Tiny"], "changed": 1}')
    assert run_pass(deployment, "comes back")[2]["requests"] == 3, "a changed checkpoint is read again"
    assert read_notes(deployment) == []


@pytest.mark.slow
def test_a_successful_reading_clears_one_failure(deployment: Path, run_pass: RunPass) -> None:
    run_pass(deployment, "kill -9")
    assert run_pass(deployment, "comes back")[2]["requests"] == 3
    assert read_notes(deployment) == []


def failure_counts(deployment: Path) -> list[int]:
    return [note["failures"] for note in read_notes(deployment)]


def test_a_successful_reading_keeps_earlier_notes_of_the_same_content(tmp_path: Path) -> None:
    quarantine = Quarantine(str(tmp_path / "root"))
    with quarantine.guard_read("/in/a", "1"):
        assert failure_counts(tmp_path) == [1]
    assert failure_counts(tmp_path) == []
    with quarantine.guard_read("/in/a", "1"):
        quarantine.add_failure("/in/a", "1", MemoryError())
    assert failure_counts(tmp_path) == [1]
    counts: list[int] = []

    def fail() -> None:
        counts.extend(failure_counts(tmp_path))
        raise RetryableError("the store is away")

    with pytest.raises(RetryableError), quarantine.guard_read("/in/a", "1"):
        fail()
    assert counts == [2]
    assert [note["why"] for note in read_notes(tmp_path)] == ["MemoryError"]
    with quarantine.guard_read("/in/a", "2"):
        assert failure_counts(tmp_path) == [1], "changed since, it begins anew"
    with quarantine.guard_read("/in/a", "1"):
        quarantine.lift("/in/a")
    assert failure_counts(tmp_path) == []


@pytest.mark.parametrize("error_type", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_error_that_ends_the_task_leaves_the_note(tmp_path: Path, error_type: type[BaseException]) -> None:
    with pytest.raises(error_type), Quarantine(str(tmp_path / "root")).guard_read("/in/a", "1"):
        raise error_type
    quarantine = Quarantine(str(tmp_path / "root"))
    assert quarantine.find_refusal("/in/a", "1") is None
    with pytest.raises(error_type), quarantine.guard_read("/in/a", "1"):
        raise error_type
    assert "never came back" in str(Quarantine(str(tmp_path / "root")).find_refusal("/in/a", "1"))


def test_suspects_are_read_alone_and_other_checkpoints_in_parallel(tmp_path: Path) -> None:
    """Otherwise all checkpoints that were being read when one killed the process would be quarantined with it."""
    for name in "ab":
        with pytest.raises(SystemExit), Quarantine(str(tmp_path / "root")).guard_read(f"/in/{name}", "1"):
            raise SystemExit
    quarantine = Quarantine(str(tmp_path / "root"))

    def meet(names: str) -> list[bool]:
        barrier = Barrier(2)

        def read(name: str) -> bool:
            with quarantine.guard_read(f"/in/{name}", "1"):
                try:
                    barrier.wait(1)
                except BrokenBarrierError:
                    return False
                return True

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(read, names))

    assert meet("cd") == [True, True]
    assert meet("ab") == [False, False]
