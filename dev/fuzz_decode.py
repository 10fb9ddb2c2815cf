"""Fuzz the image decoder, guided by coverage, from the corpus of its tests.

    PYTHONPATH=. .assay/data/bin/python -m dev.fuzz_decode --seconds 600 --findings /tmp/findings

`prepare` must return a golden image that decodes at its declared size, on the patch grid, or raise ImageRejected for a
reason of REASONS. Any other error is a finding, and the file is saved. A file is also saved if it ends the process (a
codec crashed), takes longer than HANG seconds, or needs more than MEMORY. The next process then goes on with other
files. Exits with 1 when there was a finding or a crash.
"""

import argparse
import io
import json
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
HANG = 20  # seconds for one file
MEMORY = 3000  # megabytes of the process
MODULES = ("PIL.", "ray_jobs.images")  # pure Python; the codecs in C give no coverage
PNG = b"\x89PNG\r\n\x1a\n"
MAX_INPUT_BYTES = 64 * 1024  # bytes of one file


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--executions", type=int, default=2**31 - 1, help="end sooner, after so many")
    parser.add_argument("--findings", type=Path, default=ROOT / ".assay" / "fuzz")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        return fuzz(arguments.child, arguments.findings, arguments.seconds, arguments.executions)
    arguments.findings.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + arguments.seconds
    with tempfile.TemporaryDirectory() as work:
        counts = run_children(Path(work), arguments.findings, until, arguments.executions)
    print(f"{'outcome':<28}{'count':>10}")
    for outcome, count in sorted(counts.items()):
        print(f"{outcome:<28}{count:>10}")
    bad = counts["findings"] + counts["crashes"]
    if bad:
        print(f"{bad} findings, saved in {arguments.findings}")
    return 1 if bad or not counts["executions"] else 0


def run_children(work: Path, findings: Path, until: float, executions: int) -> Counter[str]:
    """Run children one after the other until the time or the executions are over. Returns the sum of their counts."""
    seeds = work / "seeds"
    seeds.mkdir()
    for name, data in corpus_files().items():
        (seeds / name).write_bytes(data)
    counts = Counter(executions=0, kept=0, findings=0, crashes=0)
    while (seconds_left := int(until - time.monotonic())) > 0 and counts["executions"] < executions:
        command = [sys.executable, "-m", "dev.fuzz_decode", f"--seconds={seconds_left}", f"--findings={findings}"]
        command.append(f"--executions={executions - counts['executions']}")
        try:
            timeout = seconds_left + 2 * HANG
            process = subprocess.run([*command, f"--child={work}"], cwd=ROOT, capture_output=True, timeout=timeout)
            code, output = process.returncode, process.stderr
        except subprocess.TimeoutExpired as error:  # so stuck in C that libFuzzer's own alarm did not come through
            code, output = -1, error.stderr or b""
        if (work / "counts.json").exists():
            counts.update(json.loads((work / "counts.json").read_text()))
            (work / "counts.json").unlink()
        if code:
            counts["crashes"] += 1
            crash = findings / f"crash-{time.time_ns()}"
            crash.with_suffix(".txt").write_bytes(output[-20_000:])
            if (work / "current").exists():
                shutil.copy(work / "current", crash)
    return counts


def corpus_files() -> dict[str, bytes]:
    """The seeds. Long files are left out, because they would slow down every mutation."""
    sys.path.insert(0, str(ROOT / "tests" / "ray_jobs"))
    from images import corpus

    contents = {name: file.make() for name, file in corpus.FILES.items()}
    return {name: data for name, data in contents.items() if len(data) <= MAX_INPUT_BYTES}


def correct_checksums(data: bytes) -> bytes:
    """The PNG with right checksums. Without them nearly every mutated PNG is refused before it is decoded."""
    if not data.startswith(PNG):
        return data
    fixed, position = PNG, len(PNG)
    while position + 12 <= len(data):
        size = struct.unpack_from(">I", data, position)[0]
        body = data[position + 4 : position + 8 + size]
        fixed += data[position : position + 4] + body + struct.pack(">I", zlib.crc32(body))
        position += 12 + size
    return fixed


def fuzz(work: Path, findings: Path, seconds: int, executions: int) -> int:
    """Run libFuzzer in this process. It never returns: libFuzzer ends the process after its time or runs."""
    import atheris

    with atheris.instrument_imports(include=list(MODULES)):
        from PIL import Image

        from ray_jobs.contract.sections.preprocess import Preprocess
        from ray_jobs.images.prepare import prepare
        from ray_jobs.images.reject_reasons import REASONS, ImageRejected
    warnings.simplefilter("ignore")
    counts: Counter[str] = Counter()
    settings = Preprocess(max_source_pixels=4_000_000, max_pixels=16_000)  # so small that every seed is resized

    def try_decode(data: bytes) -> str:
        try:
            golden = prepare(data, settings, "fuzzed.jpg")
        except ImageRejected as error:
            return f"rejected: {REASONS[REASONS.index(error.reason)]}"
        image = Image.open(io.BytesIO(golden.image))
        image.load()
        assert image.size == (golden.width, golden.height)
        assert golden.width % settings.patch == golden.height % settings.patch == 0
        return "kept"

    def try_input(data: bytes) -> None:
        data = correct_checksums(data)
        (work / "current").write_bytes(data)
        counts["executions"] += 1
        try:
            counts[try_decode(data)] += 1
        except Exception as error:
            counts["findings"] += 1
            kind = f"{type(error).__name__}-{random.randrange(10**9):09d}"
            (findings / kind).write_bytes(data)
            (findings / f"{kind}.txt").write_text(repr(error))
        (work / "counts.json").write_text(json.dumps(counts))

    corpus_folder = work / "grown"
    corpus_folder.mkdir(exist_ok=True)
    limits = [f"-max_total_time={seconds}", f"-timeout={HANG}", f"-rss_limit_mb={MEMORY}"]
    limits += [f"-max_len={MAX_INPUT_BYTES}", f"-runs={executions}", f"-artifact_prefix={work}/"]
    atheris.Setup([sys.argv[0], *limits, str(corpus_folder), str(work / "seeds")], try_input)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
