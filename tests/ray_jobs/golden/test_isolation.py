"""What a file does to the process that decodes it costs that file alone.

No file is known that crashes a codec of today, so `misbehaving` stands in for one: it does to a real process what such
a file would do.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
from making import encoded, picture

from ray_jobs.contract import Preprocess, Trouble
from ray_jobs.golden.isolation import BATCH_BYTES, BATCH_ROWS, Decoder, batched
from ray_jobs.images.prepare import Golden, Reject, prepare, prepare_all
from ray_jobs.sources import Row

SETTINGS = Preprocess(max_pixels=12544, decode_seconds=1)
GOOD = encoded(picture())
ROOT = Path(__file__).parents[3]


def misbehaving(files: Sequence[tuple[str, bytes | Path]], settings: Preprocess) -> list[Golden | Reject]:
    for name, data in files:
        match data:
            case b"crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case b"abort":
                os.abort()
            case b"exit":
                os._exit(3)
            case b"hang":
                time.sleep(100)
            case b"once":
                if not Path(name).exists():
                    Path(name).touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                return prepare_all([(name, GOOD)], settings)
    return prepare_all(files, settings)


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    made = Decoder(SETTINGS, misbehaving)
    yield made
    made.close()


def outcomes(decoder: Decoder, rows: list[Row]) -> dict[str, str]:
    return {row.image_id: made.reason if isinstance(made, Reject) else "kept" for row, made in decoder.prepared(rows)}


def test_each_costs_itself_alone(decoder: Decoder) -> None:
    bad = {3: b"crash", 17: b"hang", 18: b"abort", 40: b"exit", 59: b"crash"}
    found = outcomes(decoder, [Row(str(number), bad.get(number, GOOD)) for number in range(60)])
    assert list(found) == [str(number) for number in range(60)]
    reasons = {data: "timeout" if data == b"hang" else "crashed-decoder" for data in bad.values()}
    expected = {str(number): reasons[data] for number, data in bad.items()}
    assert {name: reason for name, reason in found.items() if reason != "kept"} == expected


def test_the_detail_says_what_happened(decoder: Decoder) -> None:
    bad = [b"crash", b"exit", b"hang"]
    found = [made for _, made in decoder.prepared([Row(str(data), data) for data in bad])]
    assert [made.detail for made in found if isinstance(made, Reject)] == [
        "the decoder's process died of SIGSEGV",
        "the decoder's process died of exit code 3",
        "not decoded within 1 s",
    ]


def test_a_process_that_someone_else_killed_costs_nothing(decoder: Decoder, tmp_path: Path) -> None:
    rows = [Row("a", GOOD), Row(str(tmp_path / "b"), b"once"), Row("c", GOOD)]
    assert set(outcomes(decoder, rows).values()) == {"kept"}


def test_a_process_killed_between_two_batches_is_replaced(decoder: Decoder) -> None:
    assert outcomes(decoder, [Row("a", GOOD)]) == {"a": "kept"}
    for process in psutil.Process().children(recursive=True):
        if "forkserver" in " ".join(process.cmdline()) and process.parent() != psutil.Process():
            process.kill()
    time.sleep(0.5)
    assert outcomes(decoder, [Row(str(number), GOOD) for number in range(40)]) == dict.fromkeys(
        map(str, range(40)), "kept"
    )


def test_memory_is_bounded() -> None:
    """A picture that is within the pixels the suite allows, but not within its memory."""
    large = encoded(picture(size=(40, 40)).resize((13_000, 13_000)), "PNG", compress_level=1)
    decoder = Decoder(Preprocess(decode_mb=256))
    assert outcomes(decoder, [Row("large", large), Row("good", GOOD)]) == {"large": "too-large", "good": "kept"}
    decoder.close()


def test_golden_images_are_those_of_this_process(decoder: Decoder, tmp_path: Path) -> None:
    (tmp_path / "file.png").write_bytes(GOOD)
    rows = [Row("a", GOOD), Row("b", None, tmp_path / "file.png"), Row("c", None, detail="gone"), Row("d", b"")]
    found = [made for _, made in decoder.prepared(rows)]
    assert found[0] == found[1] == prepare(GOOD, SETTINGS)
    assert found[2] == Reject("unreadable-source", "gone")
    assert found[3] == Reject("empty", "0 bytes")


def test_a_disk_that_fails_is_trouble(decoder: Decoder) -> None:
    with pytest.raises(Trouble, match="cannot read /proc/self/mem"):
        list(decoder.prepared([Row("a", None, Path("/proc/self/mem"))]))  # EIO at address 0


def test_batches_are_small() -> None:
    sizes = [[len(row.data or b"") for row in batch] for batch in batched([Row("", b"x" * 10)] * 40)]
    assert [len(batch) for batch in sizes] == [BATCH_ROWS, BATCH_ROWS, 40 - 2 * BATCH_ROWS]
    large = [Row("", b"x" * (BATCH_BYTES // 2))] * 5
    assert [len(batch) for batch in batched(large)] == [2, 2, 1]


def test_rows_are_not_read_far_ahead(decoder: Decoder) -> None:
    read = 0

    def rows() -> Iterator[Row]:
        nonlocal read
        for number in range(1000):
            read += 1
            yield Row(str(number), GOOD)

    next(iter(decoder.prepared(rows())))
    assert read <= 4 * BATCH_ROWS


PARENT = """
import sys, time
from ray_jobs.contract import Preprocess
from ray_jobs.golden.isolation import Decoder
from ray_jobs.sources import Row
decoder = Decoder(Preprocess())
list(decoder.prepared([Row("a", b"")]))
print("ready", flush=True)
time.sleep(100)
"""


def test_nothing_outlives_a_killed_worker() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
