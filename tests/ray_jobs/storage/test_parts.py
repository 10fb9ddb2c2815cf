from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pytest
from blake3 import blake3

from ray_jobs.contract.artifacts import Part
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.storage import manifests, objects, parts

TABLE = pa.table({"image_id": ["a", "b"], "caption": ["one", None]})


def test_a_part_describes_its_rows(store: str) -> None:
    part = parts.write(store, "part-00000", TABLE, {"lost": {"empty": 1}, "note": "kept"})
    data = objects.read(f"{store}/parts/part-00000.parquet")
    assert part == Part(name="part-00000", rows=2, lost={"empty": 1}, blake3=blake3(data).hexdigest())
    assert parts.describe("part-00000", data) == part
    assert parts.read(store, "part-00000").to_pylist() == TABLE.to_pylist()
    assert parts.read(store, "part-00000", ["caption"]).column_names == ["caption"]
    assert parts.decode_footer(data)["note"] == "kept"
    assert manifests.list_part_names(store) == {"part-00000"}


def test_the_first_writer_of_a_part_stands_and_is_the_one_described(store: str) -> None:
    first = parts.write(store, "part-00000", TABLE, {"lost": {}})
    second = parts.write(store, "part-00000", TABLE.slice(0, 1), {"lost": {"empty": 1}})
    assert second == first
    assert parts.read(store, "part-00000").num_rows == 2


def test_the_same_rows_are_the_same_bytes(tmp_path: Path) -> None:
    first = parts.write(str(tmp_path / "a"), "p", TABLE, {"lost": {}})
    assert parts.write(str(tmp_path / "b"), "p", TABLE, {"lost": {}}) == first


def test_a_missing_or_broken_part_is_a_retryable_error_with_a_remedy(store: str) -> None:
    with pytest.raises(RetryableError, match=r"part-00000\.parquet: the part is missing, and no manifest names it"):
        parts.read(store, "part-00000")
    objects.write(f"{store}/parts/part-00000.parquet", b"PAR1 and nothing")
    with pytest.raises(RetryableError, match="not readable as Parquet"):
        parts.read(store, "part-00000")


@pytest.mark.parametrize("stage", [None, "golden", "captions"])
def test_a_missing_column_is_a_retryable_error_that_names_it(store: str, stage: Literal["golden", "captions"]) -> None:
    part = parts.write(store, "part-00000", TABLE, {"lost": {}})
    if stage:
        manifests.commit(store, manifests.build_manifest(stage, "x", [part], 2, {}, {}))
    for read in (parts.read, parts.read_columns):
        with pytest.raises(RetryableError) as error:
            read(store, "part-00000", ["image_id", "polite"])
        assert str(error.value) == (
            f"{store}/parts/part-00000.parquet: it has no column polite, because another version of the stage wrote "
            "it; delete it and its manifest, then rerun (if you changed the stage's code, raise its version in "
            "ray_jobs/contract/spec.py)"
        )


def make_parts(*rows_and_lost: tuple[int, dict[str, int]]) -> list[Part]:
    return [
        Part(name=f"p{n}", rows=rows, lost=lost_counts, blake3="")
        for n, (rows, lost_counts) in enumerate(rows_and_lost)
    ]


def test_a_golden_part_has_no_row_for_what_it_rejected() -> None:
    manifest = manifests.build_manifest(
        "golden", "x", reversed(make_parts((3, {"empty": 1}), (2, {"empty": 1, "corrupt": 1}))), 8, {}, {}
    )
    assert (manifest.rows_in, manifest.rows_out, manifest.lost) == (8, 5, {"corrupt": 1, "empty": 2})
    assert [part.name for part in manifest.parts] == ["p0", "p1"]


def test_a_caption_part_has_a_row_for_what_failed() -> None:
    manifest = manifests.build_manifest("captions", "x", make_parts((4, {"engine-error": 1}), (4, {})), 8, {}, {})
    assert (manifest.rows_in, manifest.rows_out, manifest.lost) == (8, 7, {"engine-error": 1})


@pytest.mark.parametrize(
    ("stage", "sums", "rows_in"),
    [
        ("golden", make_parts((3, {"empty": 1}), (4, {})), 9),  # a row lost without a reason
        ("golden", make_parts((4, {}), (4, {})), 7),  # a row too many
        ("captions", make_parts((4, {}), (3, {})), 8),
        ("captions", make_parts((4, {}), (4, {}), (4, {})), 8),
        ("scores", make_parts((4, {"no-caption": 1})), 5),
        ("golden", [], 3),
    ],
)
def test_sums_that_do_not_hold_are_no_manifest(stage: str, sums: list[Part], rows_in: int) -> None:
    with pytest.raises(RetryableError, match="rows expected in its parts"):
        manifests.build_manifest(stage, "x", sums, rows_in, {}, {})  # type: ignore[arg-type]


def test_the_first_manifest_stands(store: str) -> None:
    assert manifests.load_manifest(store) is None
    first = manifests.commit(
        store, manifests.build_manifest("golden", "x", make_parts((1, {})), 1, {"prepare": 1.0}, {})
    )
    second = manifests.commit(
        store, manifests.build_manifest("golden", "x", make_parts((1, {})), 1, {"prepare": 2.0}, {})
    )
    assert second == first == manifests.load_manifest(store) == manifests.require_manifest(store, "preprocess")


def test_an_incomplete_stage_or_an_invalid_manifest(store: str) -> None:
    with pytest.raises(InputError, match="the preprocess stage is not complete; run it first"):
        manifests.require_manifest(store, "preprocess")
    objects.write(f"{store}/manifest.json", b"{}")
    with pytest.raises(InputError) as error:
        manifests.load_manifest(store)
    assert str(error.value) == f"{store}/manifest.json: not a manifest (ValidationError); delete it and rerun"


def test_forgetting_happens_once_a_token(store: str) -> None:
    def fill() -> None:
        parts.write(store, "part-00000", TABLE, {"lost": {}})
        objects.write(f"{store}/manifest.json", b"{}")
        objects.write(f"{store}/spec.json", b"{}")

    fill()
    manifests.clear_stage(store, "manual__2026-01-01T00:00:00+00:00", keep=("spec.json",))
    assert manifests.list_part_names(store) == set()
    assert not objects.exists(f"{store}/manifest.json")
    assert objects.exists(f"{store}/spec.json")
    fill()
    manifests.clear_stage(store, "manual__2026-01-01T00:00:00+00:00", keep=("spec.json",))
    assert manifests.list_part_names(store) == {"part-00000"}
    manifests.clear_stage(store, "another", keep=("spec.json",))
    assert manifests.list_part_names(store) == set()


def test_forgetting_takes_the_manifest_first(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill in between leaves an incomplete stage, never a stage that claims lost parts."""
    parts.write(store, "part-00000", TABLE, {"lost": {}})
    objects.write(f"{store}/manifest.json", b"{}")
    deleted: list[str] = []
    monkeypatch.setattr(objects, "delete", lambda uri: deleted.append(uri.removeprefix(f"{store}/")))
    manifests.clear_stage(store, "x")
    assert deleted == ["manifest.json", "parts/part-00000.parquet"]


class CountedParts(tuple[Part, ...]):
    """The parts of a manifest. Counts how many of them are looked at."""

    looks = 0

    def __getitem__(self, place: Any) -> Any:
        self.looks += 1
        return super().__getitem__(place)

    def __iter__(self) -> Iterator[Part]:
        for part in super().__iter__():
            self.looks += 1
            yield part


def test_finding_a_part_of_a_manifest_looks_at_few() -> None:
    """A stage reads each part. If each search looked at all parts, a million images would take 4,000 x 4,000 looks."""
    names = [manifests.name_of_part(number) for number in range(0, 4000, 2)]  # a captions stage leaves empty parts out
    listed = CountedParts(Part(name=name, rows=1, blake3=name) for name in names)
    manifest = manifests.build_manifest("scores", "id", [], 0, {}, {}).model_copy(update={"parts": listed})
    for name in names:
        assert parts._find_part(manifest, name) == Part(name=name, rows=1, blake3=name)
    assert listed.looks < 20 * len(names)
    assert parts._find_part(manifest, manifests.name_of_part(1)) is None


def test_a_part_is_found_in_a_manifest_that_is_not_sorted() -> None:
    listed = tuple(Part(name=manifests.name_of_part(number), rows=1, blake3=str(number)) for number in (2, 0, 1))
    manifest = manifests.build_manifest("scores", "id", [], 0, {}, {}).model_copy(update={"parts": listed})
    assert [parts._find_part(manifest, part.name) for part in listed] == list(listed)
