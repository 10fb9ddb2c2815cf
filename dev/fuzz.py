"""Fuzz a reader of outside input, guided by coverage where atheris is installed.

    PYTHONPATH=. .assay/data/bin/python -m dev.fuzz suite --seconds 600
    PYTHONPATH=. .assay/data/bin/python -m dev.fuzz all --seconds 600

A target is a file in `tests/security/fuzz_targets/` with two functions: `SEEDS() -> list[bytes]` gives valid and nearly
valid inputs, and `try_input(data: bytes) -> None` raises for a finding. It catches only the errors that the reader may
raise. An input is also a finding if it ends the process, takes longer than HANG seconds, or needs more than MEMORY. The
next process then goes on with other inputs. The first input of each kind is saved in `.assay/fuzz/TARGET/` with its
traceback. Exits with 1 when there was a finding.
"""

import argparse
import importlib.util
import mmap
import random
import re
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]
TARGETS = ROOT / "tests" / "security" / "fuzz_targets"
INSTRUMENTED = ("ray_jobs", "yaml", "json")  # pure Python; libraries in C and Rust give no coverage
HANG = 20  # seconds for one input
MEMORY = 3000  # megabytes of the process
MAX_INPUT_BYTES = 64 * 1024  # bytes of one input
COUNTERS = struct.Struct("<QQQ")  # executions, findings, length of the current input


@dataclass
class Result:
    target: str
    executions: int = 0
    findings: int = 0
    crashes: int = 0
    seconds: float = 0.0
    saved: list[str] = field(default_factory=list)

    def line(self) -> str:
        rate = self.executions / self.seconds if self.seconds else 0.0
        return (
            f"{self.target:<20}{self.executions:>12,} executions{self.findings:>8,} findings{self.crashes:>5,} crashes"
            f"{rate:>10,.0f} a second"
        )


class Board:
    """A small file that both processes map into memory, so that the counts survive the death of the child."""

    def __init__(self, file: Path) -> None:
        if not file.exists():
            file.write_bytes(bytes(COUNTERS.size + MAX_INPUT_BYTES))
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), COUNTERS.size + MAX_INPUT_BYTES)

    def counts(self) -> tuple[int, int]:
        executions, findings, _ = COUNTERS.unpack_from(self._memory)
        return executions, findings

    def current(self) -> bytes:
        length = COUNTERS.unpack_from(self._memory)[2]
        return self._memory[COUNTERS.size : COUNTERS.size + length]

    def begin(self, data: bytes) -> None:
        executions, findings = self.counts()
        self._memory[COUNTERS.size : COUNTERS.size + len(data)] = data
        COUNTERS.pack_into(self._memory, 0, executions + 1, findings, len(data))

    def add_finding(self) -> None:
        executions, findings, length = COUNTERS.unpack_from(self._memory)
        COUNTERS.pack_into(self._memory, 0, executions, findings + 1, length)


def targets() -> list[str]:
    return sorted(file.stem for file in TARGETS.glob("*.py"))


def fuzz(target: str, seconds: int, executions: int, seed: int, findings: Path, folder: Path = TARGETS) -> Result:
    """Run children one after the other until the time or the executions are over."""
    findings.mkdir(parents=True, exist_ok=True)
    result, began = Result(target), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="assay-fuzz-") as work:
        board = Board(Path(work, "board"))
        while (seconds_left := int(began + seconds - time.monotonic())) > 0 and result.executions < executions:
            command = [sys.executable, "-m", "dev.fuzz", target, f"--seconds={seconds_left}", f"--seed={seed}"]
            command += [f"--executions={executions - result.executions}", f"--child={work}", f"--findings={findings}"]
            command.append(f"--folder={folder}")
            before = result.executions
            try:
                process = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=seconds_left + 2 * HANG)
                code, output = process.returncode, process.stderr
            except subprocess.TimeoutExpired as error:  # stuck in C, where libFuzzer's own alarm does not come through
                code, output = -1, error.stderr or b""
            result.executions, result.findings = board.counts()
            if code:
                result.crashes += 1
                name = findings / f"crash-{time.time_ns()}"
                name.write_bytes(board.current())
                name.with_suffix(".txt").write_bytes(output[-20_000:])
                seed += 1
                if result.executions == before:  # the target itself does not load
                    break
    result.seconds = time.monotonic() - began
    result.saved = sorted(file.name for file in findings.iterdir() if file.suffix != ".txt")
    return result


def run_child(file: Path, work: Path, findings: Path, seconds: int, executions: int, seed: int) -> int:
    """Fuzz in this process. libFuzzer ends the process, so the function returns only without atheris."""
    board = Board(work / "board")
    is_guided = importlib.util.find_spec("atheris") is not None
    if is_guided:
        import atheris

        with atheris.instrument_imports(include=list(INSTRUMENTED)):
            module = load(file)
    else:
        module = load(file)
    seeds = module.SEEDS()

    def try_one(data: bytes) -> None:
        data = data[:MAX_INPUT_BYTES]
        board.begin(data)
        try:
            module.try_input(data)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            board.add_finding()
            save(findings, error, data)

    if is_guided:
        corpus, seeds_folder = work / "grown", work / "seeds"
        for folder in (corpus, seeds_folder):
            folder.mkdir(exist_ok=True)
        for number, data in enumerate(seeds):
            (seeds_folder / f"{number:04d}").write_bytes(data)
        limits = [f"-max_total_time={seconds}", f"-timeout={HANG}", f"-rss_limit_mb={MEMORY}"]
        limits.append(f"-max_len={MAX_INPUT_BYTES}")
        limits += [f"-runs={executions}", f"-seed={seed}", f"-artifact_prefix={work}/"]
        atheris.Setup([sys.argv[0], *limits, str(corpus), str(seeds_folder)], try_one)
        atheris.Fuzz()
    else:
        mutate(seeds, try_one, time.monotonic() + seconds, executions, random.Random(seed))
    return 0


def mutate(
    seeds: list[bytes], try_one: Callable[[bytes], None], until: float, executions: int, chance: random.Random
) -> None:
    """Without coverage: the seeds as they are, then with a few bytes changed, cut, doubled or taken from another."""
    for number in range(executions):
        if time.monotonic() > until:
            return
        data = bytearray(seeds[number % len(seeds)])
        for _ in range(chance.randrange(1, 5) if number >= len(seeds) else 0):
            start, end = sorted(chance.randrange(len(data) + 1) for _ in range(2))
            match chance.randrange(4):
                case 0:
                    data[start:start] = chance.randbytes(chance.randrange(1, 5))
                case 1:
                    del data[start:end]
                case 2:
                    data[end:end] = data[start:end]
                case _:
                    data[start:end] = chance.choice(seeds)[start:end]
        try_one(bytes(data))


def load(file: Path) -> ModuleType:
    """The target's module, under a prefixed name, because a target may have the name of a module of ours."""
    spec = importlib.util.spec_from_file_location(f"fuzz_target_{file.stem}", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def save(findings: Path, error: BaseException, data: bytes) -> None:
    """Save the first input of each kind: the type of the error and the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    kind = re.sub(r"\W+", "-", f"{type(error).__name__}-{Path(frames[-1].filename).stem}-{frames[-1].lineno}")
    if not (findings / kind).exists():
        (findings / kind).write_bytes(data)
        trace = "".join(traceback.format_exception(error, limit=-30))
        (findings / f"{kind}.txt").write_text(trace[-20_000:], errors="backslashreplace")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("target", help=f"all, or one of {', '.join(targets())}")
    parser.add_argument("--seconds", type=int, default=600, help="of each target")
    parser.add_argument("--executions", type=int, default=2**31 - 1, help="end sooner, after so many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--findings", type=Path, help="default: .assay/fuzz/TARGET")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, default=TARGETS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    file = arguments.folder / f"{arguments.target}.py"
    if arguments.target != "all" and not file.exists():
        parser.error(f"no target {arguments.target!r}; one of all, {', '.join(targets())}")
    if arguments.child:
        limits = arguments.seconds, arguments.executions
        return run_child(file, arguments.child, arguments.findings, *limits, arguments.seed)
    results = []
    for target in targets() if arguments.target == "all" else [arguments.target]:
        folder = (arguments.findings or ROOT / ".assay" / "fuzz") / target
        result = fuzz(target, arguments.seconds, arguments.executions, arguments.seed, folder)
        print(result.line(), flush=True)
        for name in result.saved:
            print(f"  {folder / name}", flush=True)
        results.append(result)
    return 1 if any(result.findings or result.crashes or not result.executions for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
