"""A file that harms the process decoding it costs only itself.

No file is known that crashes a codec of today, so `misbehave` stands in for one: it does to a real process what such
a file would do.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from samples import draw_picture, encode_image

from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.golden.build_part import prepare_row
from ray_jobs.golden.decoder_process import Decoder, ProcessDied, end_process_after
from ray_jobs.images.prepare import GoldenImage, Reject, prepare
from ray_jobs.inputs.errors import RetryableError
from ray_jobs.sources.source import SourceImage

SETTINGS = Preprocess(max_pixels=12544, decode_seconds=1)
GOOD = encode_image(draw_picture())
ROOT = Path(__file__).parents[3]


def misbehave(row: SourceImage, settings: Preprocess) -> GoldenImage | Reject:
    match row.data:
        case b"crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case b"abort":
            os.abort()
        case b"killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case b"exit":
            os._exit(3)
        case b"hang":
            with end_process_after(settings.decode_seconds):
                time.sleep(100)
        case b"once":
            if not Path(row.image_id).exists():
                Path(row.image_id).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return prepare(GOOD, settings)
    return prepare_row(row, settings)


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    process = Decoder(SETTINGS)
    yield process
    process.close()


def prepare_all(decoder: Decoder, *rows: SourceImage) -> list[str]:
    outcomes = [decoder.prepare_with_retry(misbehave, row) for row in rows]
    return [f"{outcome.reason}: {outcome.detail}" if isinstance(outcome, Reject) else "kept" for outcome in outcomes]


@pytest.mark.slow
def test_each_costs_itself_alone(decoder: Decoder) -> None:
    rows = [
        SourceImage(str(data), data)
        for data in (GOOD, b"crash", GOOD, b"hang", b"abort", GOOD, b"exit", b"crash", GOOD)
    ]
    died = "crashed-decoder: its process died of"
    assert prepare_all(decoder, *rows) == [
        "kept", f"{died} SIGSEGV", "kept", "timeout: not decoded within 1 s", f"{died} SIGABRT", "kept",
        f"{died} exit code 3", f"{died} SIGSEGV", "kept",
    ]  # fmt: skip


def test_a_process_that_someone_else_killed_costs_nothing(decoder: Decoder, tmp_path: Path) -> None:
    assert (
        prepare_all(decoder, SourceImage("a", GOOD), SourceImage(str(tmp_path / "b"), b"once"), SourceImage("c", GOOD))
        == ["kept"] * 3
    )


def test_killed_twice_is_the_machines_doing_not_the_images(decoder: Decoder) -> None:
    with pytest.raises(
        RetryableError, match="the decoder of a was killed twice: its process died of SIGKILL; is there memory"
    ):
        prepare_all(decoder, SourceImage("a", b"killed"))


def test_a_process_killed_without_work_is_replaced(decoder: Decoder) -> None:
    assert prepare_all(decoder, SourceImage("a", GOOD)) == ["kept"]
    (server,) = [child for child in psutil.Process().children() if "forkserver" in " ".join(child.cmdline())]
    killed = server.children()
    for process in killed:
        process.kill()
    assert killed
    assert not psutil.wait_procs(killed, 10)[1]
    assert prepare_all(decoder, SourceImage("a", GOOD), SourceImage("b", GOOD)) == ["kept"] * 2


@pytest.mark.slow
def test_memory_is_bounded() -> None:
    """The picture is within the suite's limit of pixels, but needs more than its limit of memory."""
    large = encode_image(draw_picture(size=(40, 40)).resize((13_000, 13_000)), "PNG", compress_level=1)
    decoder = Decoder(Preprocess(decode_mb=256))
    outcomes = prepare_all(decoder, SourceImage("large", large), SourceImage("good", GOOD))
    decoder.close()
    assert outcomes[0].startswith("too-large: ")
    assert outcomes[1] == "kept"


def test_golden_images_are_those_of_this_process(decoder: Decoder, tmp_path: Path) -> None:
    (tmp_path / "file.png").write_bytes(GOOD)
    rows = [
        SourceImage("a", GOOD),
        SourceImage("b", None, tmp_path / "file.png"),
        SourceImage("c", None, detail="gone"),
        SourceImage("d", b""),
    ]
    outcomes = [decoder.prepare_with_retry(prepare_row, row) for row in rows]
    assert outcomes[0] == outcomes[1] == prepare(GOOD, SETTINGS)
    assert outcomes[2:] == [Reject("unreadable-source", "gone"), Reject("empty", "0 bytes")]


def test_a_disk_that_fails_is_trouble(decoder: Decoder) -> None:
    with pytest.raises(RetryableError, match="cannot read /proc/self/mem"):
        decoder.prepare_with_retry(prepare_row, SourceImage("a", None, Path("/proc/self/mem")))  # EIO at address 0


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def test_work_that_kills_its_process_is_reported(decoder: Decoder) -> None:
    with pytest.raises(ProcessDied, match="its process died of SIGSEGV"):
        decoder.run(kill_itself)
    assert decoder.run(int) == 0


def test_what_is_done_in_time_is_not_ended(decoder: Decoder) -> None:
    with end_process_after(0.2):
        pass
    time.sleep(0.4)  # the alarm would end this process


@pytest.mark.slow
def test_nothing_outlives_a_killed_worker() -> None:
    command = [sys.executable, str(Path(__file__).with_name("hold_decoder.py"))]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
