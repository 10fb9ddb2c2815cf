"""Readers and decoders that hang, crash or take all memory: the file fails alone, or the job's part is tried again."""

import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from samples import draw_picture, encode_image

from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.golden import single_images
from ray_jobs.golden.decoder_process import Decoder, ProcessDied
from ray_jobs.golden.source_process import run_in_source_process
from ray_jobs.images.prepare import GoldenImage, Reject
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.sources.source import Distance, ImageRef, SourceImage

SMALL = Preprocess(max_pixels=12544, decode_seconds=1)


def make_refs(length: int) -> Iterator[ImageRef]:
    return (ImageRef(str(number), "x") for number in range(length))


def hang(seconds: float) -> None:
    time.sleep(seconds)


def die(number: int) -> None:
    os.kill(os.getpid(), number)


def hoard() -> int:
    return len(bytearray(10**9))


@pytest.mark.slow
def test_a_listing_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_LISTING_SECONDS", "1")
    with pytest.raises(InputError, match="not listed within 1 s"):
        run_in_source_process("dataset x", hang, 100)


@pytest.mark.slow
def test_a_listing_that_takes_all_memory_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_LISTING_MB", "300")
    with pytest.raises(InputError, match="more than 300 MB"):
        run_in_source_process("dataset x", hoard)


@pytest.mark.slow
def test_a_file_that_crashes_its_reader_is_reported() -> None:
    with pytest.raises(InputError, match="SIGSEGV"):
        run_in_source_process("dataset x", die, int(signal.SIGSEGV))


class KillingSource:
    """A source with one image that kills the process that reads it."""

    distance: Distance = "local"

    def list_images(self) -> Iterator[ImageRef]:
        return make_refs(6)

    def read(self, wanted: Sequence[ImageRef]) -> Iterator[SourceImage]:
        for ref in wanted:
            if ref.image_id == "3":
                os.kill(os.getpid(), signal.SIGSEGV)
            yield SourceImage(ref.image_id, encode_image(draw_picture(int(ref.image_id))))


def six(golden_uri: str, file: str, group: int) -> list[ImageRef]:
    return list(make_refs(6))


def prepare_all(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """How each image of `KillingSource` ends."""
    monkeypatch.setattr(single_images, "read_refs", six)
    decoder_used = Decoder(SMALL)
    try:
        task = {"file": "", "group": 0}
        outcomes = list(single_images.prepare_alone(decoder_used, KillingSource(), "", task, defaultdict(float)))
    finally:
        decoder_used.close()
    return {row.image_id: "kept" if isinstance(outcome, GoldenImage) else outcome.reason for row, outcome in outcomes}


@pytest.mark.slow
def test_an_image_whose_reading_ends_the_process_costs_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert prepare_all(monkeypatch) == {str(n): "unreadable-source" if n == 3 else "kept" for n in range(6)}


def tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make reading a chunk and decoding an image take one second each."""
    monkeypatch.setattr(single_images, "time", SimpleNamespace(perf_counter=count().__next__))


@pytest.mark.slow
def test_a_part_has_a_budget_for_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    tick(monkeypatch)
    monkeypatch.setenv("ASSAY_PART_SECONDS", "2.5")
    assert list(prepare_all(monkeypatch).values()) == ["kept"] * 3 + ["timeout"] * 3


@pytest.mark.slow
def test_a_part_whose_budget_goes_to_reading_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tick(monkeypatch)
    monkeypatch.setattr(single_images, "CHUNK", 1)
    monkeypatch.setenv("ASSAY_PART_SECONDS", "2.5")
    with pytest.raises(RetryableError, match=r"not read within 2\.5 s; look at the storage .*ASSAY_PART_SECONDS"):
        prepare_all(monkeypatch)


class WaitingSource:
    """A source with one image that never arrives, or computes forever."""

    distance: Distance = "object-store"

    def __init__(self, computes: bool) -> None:
        self.computes = computes

    def list_images(self) -> Iterator[ImageRef]:
        return make_refs(3)

    def read(self, wanted: Sequence[ImageRef]) -> Iterator[SourceImage]:
        for ref in wanted:
            while ref.image_id == "1":
                if not self.computes:
                    signal.pause()
            yield SourceImage(ref.image_id, encode_image(draw_picture(int(ref.image_id))))


@pytest.mark.slow
@pytest.mark.parametrize("computes", [False, True], ids=["does not come", "computes for ever"])
def test_an_image_that_is_slow_to_come_is_tried_again_and_one_that_computes_is_a_reject(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, computes: bool
) -> None:
    monkeypatch.setattr(single_images, "READ_SECONDS", 60.0 if computes else 6.0)
    monkeypatch.setattr(single_images, "READ_CPU_SECONDS", 1.0)
    decoder_used = Decoder(SMALL)
    try:
        if computes:
            rows = single_images.read_rows(decoder_used, WaitingSource(computes), list(make_refs(3)), str(tmp_path))
            assert [(row.image_id, row.detail) for row in rows if row.file is None] == [
                ("1", "cannot be read: over 1 s of computing")
            ]
            assert len(rows) == 3
            return
        with pytest.raises(RetryableError, match=r"^1: not read within 6 s; look at the storage"):
            single_images.read_rows(decoder_used, WaitingSource(computes), list(make_refs(3)), str(tmp_path))
    finally:
        decoder_used.close()


def test_a_plan_that_does_not_come_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(Decoder):
        def run(self, work: Callable[..., Any], *_: Any, seconds: float | None = None) -> Any:
            raise ProcessDied(-signal.SIGALRM)

    with pytest.raises(RetryableError, match="the plan of s3://b/golden/x: not read within 300 s"):
        list(
            single_images.prepare_alone(
                Silent(Preprocess()), KillingSource(), "s3://b/golden/x", {"file": "", "group": 0}, defaultdict(float)
            )
        )


def prepare_slowly(row: SourceImage, settings: Preprocess) -> GoldenImage | Reject:
    with Path(row.image_id).open("a") as file:
        file.write("tried\n")
    os.kill(os.getpid(), signal.SIGALRM)
    raise AssertionError


def test_an_image_that_takes_too_long_is_tried_once(tmp_path: Path) -> None:
    decoder_used = Decoder(SMALL)
    end = decoder_used.prepare_with_retry(prepare_slowly, SourceImage(str(tmp_path / "tries"), b"x"))
    decoder_used.close()
    assert isinstance(end, Reject)
    assert end.reason == "timeout"
    assert (tmp_path / "tries").read_text() == "tried\n"
