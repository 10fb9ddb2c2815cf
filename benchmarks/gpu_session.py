"""Measures all that needs a GPU, step by step in order of worth; keeps every result, and goes on where it ended.

    python -m benchmarks.gpu_session --list                          # the steps, and the minutes of each
    python -m benchmarks.gpu_session --minutes 25                    # what fits, on all GPUs of this host
    python -m benchmarks.gpu_session --only start start-fetch        # some steps
    python -m benchmarks.gpu_session --tiny --results /tmp/try       # tries the steps on a CPU with tiny models

Each step is a call of another benchmark, in processes of its own and with a time limit. A step that fails or hangs is
ended and the next one runs. A step that has its result is not run again. With several GPUs, steps run side by side,
each on its own GPU and cores (`--gpus 1`: one after the other). The folder of results has a log per step, `rows.jsonl`
with how each step ended, and `table.md`, which is up to date at any moment, also after `kill -9`.
"""

import argparse
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.session_runs import Runner, read_outcome
from benchmarks.session_steps import Session, Step
from benchmarks.session_table import write_table

ROOT = Path(__file__).parent.parent


def main(options: argparse.Namespace) -> int:
    results: Path = options.results.resolve()
    session = Session(results / "work", options.images, options.tiny, options.rivals)
    every_step = session.list_steps()
    unknown = set(options.only) - {step.name for step in every_step}
    if unknown:
        sys.exit(f"no such step: {', '.join(sorted(unknown))}; --list shows them")
    steps = select_steps(every_step, options.only)
    if options.list:
        print_list(steps, results)
        return 0
    (results / "work").mkdir(parents=True, exist_ok=True)
    if options.table:
        write_table(results, every_step)
        return 0
    gpus = 0 if options.tiny else count_gpus() if options.gpus is None else options.gpus
    if not gpus and not options.tiny:
        sys.exit("no GPU here; --tiny tries the steps on a CPU")
    lock = (results / ".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"another session runs in {results}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the steps are ended too
    patched_tree = copy_patched(options.patch, results / "work" / "patched") if options.patch else None
    runner = Runner(results, gpus, time.monotonic() + 60 * options.minutes, ROOT, patched_tree)
    runner.run_all(steps, lambda: write_table(results, every_step))
    print((results / "table.md").read_text())
    return 0 if all(read_outcome(results, step.name) == "done" for step in steps) else 1


def select_steps(steps: list[Step], only: list[str]) -> list[Step]:
    """The steps of these names and those that they need; all if there are no names."""
    wanted = {need for step in steps if step.name in only for need in (step.name, *step.needs)}
    return [step for step in steps if step.name in wanted or not only]


def print_list(steps: list[Step], results: Path) -> None:
    print("| step | minutes | GPUs | outcome so far | what it answers |\n" + "| --- " * 5 + "|")
    for step in steps:
        outcome = read_outcome(results, step.name) or ""
        patch = " (needs --patch)" if step.patched else ""
        print(f"| {step.name} | {step.minutes:.1f} | {step.gpus} | {outcome} | {step.answers}{patch} |")
    print(f"\n{sum(step.minutes for step in steps):.0f} minutes on one GPU, one step after the other")


def count_gpus() -> int:
    """The GPUs that this process may use."""
    if visible := os.environ.get("CUDA_VISIBLE_DEVICES", "").strip():
        return len(visible.split(","))
    listed = subprocess.run(["sh", "-c", "nvidia-smi -L"], capture_output=True, text=True)
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def copy_patched(patch: Path, target: Path) -> Path | None:
    """A copy of this tree with the patch. None, and a line, if the patch does not apply."""
    shutil.rmtree(target, ignore_errors=True)
    for name in ("ray_jobs", "benchmarks", "demo", "plugins", "dags", "tests", "docs"):
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, target / name)
    command = ["git", "apply", "--include=ray_jobs/*", "--include=plugins/*", str(patch.resolve())]
    # Inside another repository, git would look for the files at its top, and skip them all without a word.
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(target.parent)}
    applied = subprocess.run(command, cwd=target, env=environment, capture_output=True, text=True)
    if applied.returncode:
        print(f"steps with a patch are left out: {patch}: {applied.stderr.strip()[-300:]}", flush=True)
    return None if applied.returncode else target


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_session")
    parser.add_argument("--results", type=Path, default=Path(tempfile.gettempdir(), "assay-gpu-session"))
    parser.add_argument("--minutes", type=float, default=600.0, help="of all steps together; those that fit are run")
    parser.add_argument("--only", nargs="+", default=[], help="names of steps")
    parser.add_argument("--images", type=int, default=4096, help="of each table of captions per second")
    parser.add_argument("--gpus", type=int, help="of this host, to be used; all by default")
    parser.add_argument("--rivals", type=Path, help="the folder of the rivals' environments")
    parser.add_argument("--patch", type=Path, help="a patch for the steps that try a change, as fp8-warm does")
    parser.add_argument("--tiny", action="store_true", help="try the steps on a CPU")
    parser.add_argument("--list", action="store_true", help="print the steps and end")
    parser.add_argument("--table", action="store_true", help="write table.md from what is there, and end")
    sys.exit(main(parser.parse_args()))
