"""What the driver of a captions job reads from the store. The jobs have tests of their own, in `test_caption`."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from noted_reads import note_reads
from samples import make_spec
from stored_captions import write_golden

from ray_jobs import caption
from ray_jobs.contract.artifacts import Manifest
from ray_jobs.contract.spec import Spec
from ray_jobs.engine.client.stream import EngineTimings, PartStream
from ray_jobs.engine.protocol import AnswerBlock, EngineReport
from ray_jobs.job import frame
from ray_jobs.storage import manifests, object_listing, objects

ROWS, PARTS = 4, 3
NAMES = [manifests.name_of_part(number) for number in range(PARTS)]
IMAGE_BYTES = 500_000


def make_golden(root: str) -> Spec:
    spec = make_spec(root=root)
    images = [{"image_id": f"{number}.png", "image": bytes([number]) * IMAGE_BYTES} for number in range(ROWS * PARTS)]
    write_golden(spec, images, ROWS)
    return spec


def make_answers() -> list[dict[str, Any]]:
    """The answers to the rows of a part. The last row has none."""
    return [
        {
            "text": None if row == ROWS - 1 else f"a caption {row}", "finish_reason": "stop", "prompt_tokens": 9,
            "tokens": 5, "arrived": 1.0, "finished": 2.0, "failure": "engine-error" if row == ROWS - 1 else None,
            "detail": None, "row": row,
        }
        for row in range(ROWS)
    ]  # fmt: skip


def write_part(spec: Spec, name: str, swapped: bool = False) -> caption.DescribedPart:
    return caption._write_part(spec, name, pa.Table.from_pylist(make_answers()), swapped)


def commit(spec: Spec, written: dict[str, caption.DescribedPart]) -> Manifest:
    golden = manifests.require_manifest(spec.golden_uri, "preprocess")
    caption.commit(spec, golden, EngineTimings(0.0), written)
    return manifests.require_manifest(spec.captions_uri, "caption")


def test_the_driver_reads_no_part_that_it_wrote(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_golden(store)
    written = {name: write_part(spec, name) for name in NAMES}
    reads = note_reads(monkeypatch, "read", "read_range")
    manifest = commit(spec, written)
    assert [uri for uri, _ in reads if uri.endswith(".parquet")] == []
    assert (manifest.rows_in, manifest.rows_out, manifest.lost) == (
        ROWS * PARTS,
        (ROWS - 1) * PARTS,
        {"engine-error": 3},
    )
    assert manifest.weights_swapped is False


def test_the_manifest_is_the_same_if_an_earlier_job_wrote_some_parts(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_golden(store)
    written = {name: write_part(spec, name, swapped=name == NAMES[0]) for name in NAMES}
    by_one = commit(spec, written)
    objects.delete(manifests.uri_of_manifest(spec.captions_uri))
    reads = note_reads(monkeypatch, "read", "read_range")
    by_two = commit(spec, {NAMES[2]: written[NAMES[2]]})
    assert sorted(uri.rsplit("/", 1)[1] for uri, _ in reads if uri.endswith(".parquet")) == [
        f"{name}.parquet" for name in NAMES[:2]
    ]
    assert by_two.model_copy(update={"created_at": by_one.created_at}) == by_one
    assert by_one.weights_swapped is True


def test_of_two_writers_of_a_part_the_first_is_in_the_manifest(store: str) -> None:
    spec = make_golden(store)
    first = write_part(spec, NAMES[0], swapped=True)
    assert write_part(spec, NAMES[0], swapped=False) == first
    assert first[1]["swapped"] is True


def test_a_part_that_vanished_is_in_no_manifest(store: str) -> None:
    spec = make_golden(store)
    written = {name: write_part(spec, name) for name in NAMES}
    objects.delete(manifests.uri_of_part(spec.captions_uri, NAMES[1]))
    with pytest.raises(FileNotFoundError):
        commit(spec, written)
    assert manifests.load_manifest(spec.captions_uri) is None


def test_the_driver_reads_the_names_of_images_without_the_images(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_golden(s3)
    reads = note_reads(monkeypatch, "read", "read_range")
    write_part(spec, NAMES[0])
    size = object_listing.find_entry(manifests.uri_of_part(spec.golden_uri, NAMES[0]))
    assert size is not None
    assert size.size > ROWS * IMAGE_BYTES
    assert sum(count for uri, count in reads if uri.startswith(spec.golden_uri)) < IMAGE_BYTES


class Killed(Exception):
    pass


def test_a_job_that_goes_on_after_a_kill_reads_only_the_parts_of_the_killed_job(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In place of an engine, a list of answers. `test_caption` does the same with an engine and without counting."""
    spec = make_golden(store)
    answered: list[str] = []

    def stream(killed_after: int) -> Any:
        def stream_parts(_: Any, __: Any, pending: dict[str, range], *___: Any, **____: Any) -> PartStream:
            def blocks() -> Iterator[AnswerBlock]:
                for number, name in enumerate(pending):
                    if number == killed_after:
                        raise Killed
                    answered.append(name)
                    answers = [answer | {"key": f"{name}/{answer['row']}"} for answer in make_answers()]
                    yield AnswerBlock(answers, EngineReport(kind="warm"))

            return PartStream(blocks(), {name: len(rows) for name, rows in pending.items()}, 0.0, whole_parts=True)

        return stream_parts

    monkeypatch.setattr(caption, "probe_captions", lambda _: None)
    monkeypatch.setattr(frame, "join_cluster", lambda _: None)
    monkeypatch.setattr(caption, "stream_parts", stream(killed_after=1))
    with pytest.raises(Killed):
        caption.caption(spec)
    assert manifests.load_manifest(spec.captions_uri) is None
    reads = note_reads(monkeypatch, "read", "read_range")
    monkeypatch.setattr(caption, "stream_parts", stream(killed_after=PARTS))
    caption.caption(spec)
    assert answered == NAMES
    captions = [uri for uri, _ in reads if uri.startswith(f"{spec.captions_uri}/parts")]
    assert captions == [manifests.uri_of_part(spec.captions_uri, NAMES[0])]
    manifest = manifests.require_manifest(spec.captions_uri, "caption")
    assert [part.name for part in manifest.parts] == NAMES
    assert manifest.rows_out == PARTS * (ROWS - 1)
