"""The session on a GPU: no step stops the others, nothing is lost, and nothing that a step started stays."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks import gpu_session
from benchmarks.session_runs import Runner, read_rows
from benchmarks.session_steps import Session, Step
from benchmarks.session_table import list_measured_lines, write_table

REPO = Path(__file__).parents[2]


def build_step(name: str, script: str, limit: float = 60.0, gpus: int = 1, needs: tuple[str, ...] = ()) -> Step:
    return Step(name, f"answers {name}", 0.0, ("sh", "-c", script), gpus, needs, time_limit=limit)


def run_steps(folder: Path, steps: list[Step], gpus: int = 0, seconds: float = 300.0) -> dict[str, str]:
    """Runs the steps and returns how each ended."""
    runner = Runner(folder, gpus, time.monotonic() + seconds, REPO, poll=0.05)
    runner.run_all(steps, lambda: write_table(folder, steps))
    return {name: row["outcome"] for name, row in read_rows(folder).items()}


def is_running(pid: int) -> bool:
    """Whether the process runs. A zombie does not: it is dead, and its parent has not waited for it yet."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_step_that_fails_or_hangs_does_not_stop_the_rest(tmp_path: Path) -> None:
    steps = [
        build_step("fails", "echo '| half | 1 |'; echo the cause; exit 3"),
        build_step("hangs", "echo waiting; sleep 1000", limit=1.0),
        build_step("works", "echo '| whole | 2 |'"),
    ]
    assert run_steps(tmp_path, steps) == {"fails": "failed", "hangs": "too long", "works": "done"}
    page = (tmp_path / "table.md").read_text()
    assert [line for line in ("| half | 1 |", "| whole | 2 |", "the cause") if f"{line}\n" not in page] == []
    assert read_rows(tmp_path)["hangs"]["tail"] == ["waiting"]


def test_a_step_with_its_result_is_not_run_again_and_one_without_is(tmp_path: Path) -> None:
    count = f"echo once >> {tmp_path}/$0"
    steps = [
        build_step("fails", f"{count.replace('$0', 'fails')}; exit 1"),
        build_step("works", count.replace("$0", "works")),
    ]
    for _ in range(2):
        run_steps(tmp_path, steps)
    assert len((tmp_path / "fails").read_text().splitlines()) == 2
    assert len((tmp_path / "works").read_text().splitlines()) == 1


def test_what_other_steps_need_is_made_again_on_another_machine(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    steps = [
        Step("weights", "", 0.0, ("sh", "-c", f"echo made >> {weights}"), makes=weights),
        build_step("rate", f"cat {weights} >> {tmp_path}/rates; exit 1", needs=("weights",)),
    ]
    run_steps(tmp_path, steps)
    weights.unlink()
    run_steps(tmp_path, steps)
    assert (tmp_path / "rates").read_text() == "made\nmade\n"


def test_a_step_without_what_it_needs_is_not_run(tmp_path: Path) -> None:
    steps = [build_step("weights", "exit 1"), build_step("rate", "true", needs=("weights",))]
    assert run_steps(tmp_path, steps) == {"weights": "failed"}


def test_nothing_begins_when_the_time_is_over(tmp_path: Path) -> None:
    assert run_steps(tmp_path, [build_step("late", "true")], seconds=30.0) == {}


def test_processes_that_a_step_leaves_behind_are_ended(tmp_path: Path) -> None:
    """As Ray's and vLLM's: in a session of their own, so that they do not end with the step's process group."""
    step = build_step("leaves", f"setsid sh -c 'echo $$ > {tmp_path}/pid; exec sleep 1000' & sleep 0.5")
    assert run_steps(tmp_path, [step]) == {"leaves": "done"}
    assert not is_running(int((tmp_path / "pid").read_text()))


def test_with_two_gpus_two_steps_run_at_once_each_on_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step waits for the other one's file, so one after the other neither would end."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    wait = "echo $CUDA_VISIBLE_DEVICES > {0}/{1}; until [ -e {0}/{2} ]; do sleep 0.05; done"
    steps = [
        build_step("one", wait.format(tmp_path, "a", "b")),
        build_step("other", wait.format(tmp_path, "b", "a")),
        build_step("both", f"echo $CUDA_VISIBLE_DEVICES > {tmp_path}/c", gpus=2),
        build_step("too many", "true", gpus=4),
    ]
    assert run_steps(tmp_path, steps, gpus=2) == {"one": "done", "other": "done", "both": "done"}
    assert [(tmp_path / name).read_text().strip() for name in "abc"] == ["4", "6", "4,6"]


def test_without_a_gpu_a_step_for_several_is_tried_too(tmp_path: Path) -> None:
    assert run_steps(tmp_path, [build_step("both", "true", gpus=2)]) == {"both": "done"}


def test_a_killed_session_has_its_table_and_its_processes_end_with_the_next(tmp_path: Path) -> None:
    """The table has what the step that was under way had printed."""
    command = [sys.executable, str(Path(__file__).parent / "gpu_session_to_kill.py"), str(tmp_path)]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(REPO)}) as session:
        page = tmp_path / "table.md"
        while not (page.exists() and "| under way | 2 |" in page.read_text()):
            assert session.poll() is None
            time.sleep(0.05)
        session.send_signal(signal.SIGKILL)
    left = int((tmp_path / "pid").read_text())
    assert is_running(left)
    assert "| first | answers first | done |" in page.read_text()
    assert run_steps(tmp_path, [build_step("first", "exit 1")]) == {"first": "done"}
    assert not is_running(left)
    assert "| under way | 2 |" in (tmp_path / "second.log").read_text()


def test_a_row_that_was_cut_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"step": "a", "outcome": "done"}\n{"step": "b", "outc')
    assert list(read_rows(tmp_path)) == ["a"]


PATCH = """diff --git a/ray_jobs/one.py b/ray_jobs/one.py
--- a/ray_jobs/one.py
+++ b/ray_jobs/one.py
@@ -1 +1 @@
-{0}
+changed
"""


@pytest.mark.parametrize(("before", "copied"), [("original", "changed"), ("another", None)])
def test_a_patch_changes_a_copy_also_inside_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, copied: str | None
) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "tree" / "ray_jobs").mkdir(parents=True)
    (tmp_path / "tree" / "ray_jobs" / "one.py").write_text("original\n")
    (tmp_path / "patch").write_text(PATCH.format(before))
    monkeypatch.setattr(gpu_session, "ROOT", tmp_path / "tree")
    target = gpu_session.copy_patched(tmp_path / "patch", tmp_path / "copy")
    assert (target and (target / "ray_jobs" / "one.py").read_text().strip()) == copied
    assert (tmp_path / "tree" / "ray_jobs" / "one.py").read_text() == "original\n"


def test_every_step_has_a_name_of_its_own_and_needs_steps_before_it() -> None:
    for tiny in (False, True):
        names: list[str] = []
        for step in Session(Path("/work"), 4096, tiny).list_steps():
            assert step.name not in names
            assert set(step.needs) <= set(names)
            names.append(step.name)


def test_a_step_brings_what_it_needs() -> None:
    steps = Session(Path("/work"), 4096, False).list_steps()
    assert [step.name for step in gpu_session.select_steps(steps, ["7b-504x364"])] == ["weights-7b", "7b-504x364"]


def test_the_page_has_tables_and_ratios_apart(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(
        "noise\n| a | b |\n| --- | --- |\n| 1 | 2 |\n  seconds {}\n| c |\n| --- |\n| 3 |\n- 1.2 times\n"
        "04:05:06 engine: max_num_seqs 9 and max_num_batched_tokens 8 are chosen: why\n"
    )
    assert list_measured_lines(tmp_path / "log") == [
        "| a | b |", "| --- | --- |", "| 1 | 2 |", "", "| c |", "| --- |", "| 3 |", "", "- 1.2 times",
        "- max_num_seqs 9 and max_num_batched_tokens 8 are chosen: why",
    ]  # fmt: skip
