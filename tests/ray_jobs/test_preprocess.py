"""The golden set for real: a Ray cluster, the demo's images, kills and races."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from running import (
    DEMO,
    GOOD,
    assert_every_image_once,
    content,
    ended,
    failed,
    killed,
    planned,
    rejects_of,
    rows,
    run,
    snapshot,
    start,
)

from ray_jobs import parts, storage
from ray_jobs.contract import Spec

pytestmark = pytest.mark.integration
FAULTY = json.loads((DEMO / "images" / "faulty" / "expected.json").read_text())


def of_demo(folder: Path, **sections: Any) -> Spec:
    return planned(folder, str(folder / "root"), str(GOOD), str(DEMO / "images"), **sections)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("undisturbed")


@pytest.fixture
def golden(undisturbed: Path, on_cluster: Any) -> Spec:
    """The golden set of the demo's images, made once without being disturbed."""
    spec = of_demo(undisturbed)
    if parts.manifest(spec.golden_uri) is None:
        run("preprocess", spec)
    return spec


def test_every_image_is_kept_or_rejected_with_its_reason(golden: Spec) -> None:
    manifest = parts.require(golden.golden_uri, "golden")
    rejected = {name: found["reason"] for name, found in FAULTY.items() if found["outcome"] == "rejected"}
    rejects = rejects_of(golden)
    assert {row["image_id"]: row["reason"] for row in rejects} == {
        f"faulty/{name}": reason for name, reason in rejected.items()
    }
    assert manifest.rows_in == 256 + 12 + len(FAULTY)
    found = {row["image_id"]: row for row in rows(golden.golden_uri)}
    repaired = {name: found[f"faulty/{name}"]["repairs"] for name in FAULTY if name not in rejected}
    assert repaired == {name: FAULTY[name]["repaired"] for name in repaired}
    assert {(row["width"] % 28, row["height"] % 28) for row in found.values()} == {(0, 0)}
    assert max(row["width"] * row["height"] for row in found.values()) <= 12544
    assert_every_image_once(golden)


def test_a_complete_golden_set_is_left_as_it_is(golden: Spec) -> None:
    before = snapshot(golden.golden_uri)
    assert "is complete: 274 images" in run("preprocess", golden)
    assert snapshot(golden.golden_uri) == before


def test_killed_in_the_middle_it_goes_on_to_the_same_bytes(golden: Spec, tmp_path: Path) -> None:
    spec = of_demo(tmp_path)
    killed(start("preprocess", spec), lambda: len(parts.done(spec.golden_uri)) >= 3)
    assert parts.manifest(spec.golden_uri) is None
    done = snapshot(f"{spec.golden_uri}/parts")
    assert 3 <= len(done) < 36
    assert "resuming" in run("preprocess", spec)
    assert done.items() <= snapshot(f"{spec.golden_uri}/parts").items()  # what was done is not done again
    assert content(spec.golden_uri) == content(golden.golden_uri)
    assert_every_image_once(spec)


def test_two_at_once_both_succeed_with_one_result(golden: Spec, tmp_path: Path) -> None:
    spec = of_demo(tmp_path)
    both = [start("preprocess", spec) for _ in range(2)]
    assert [ended(process).code for process in both] == [0, 0]
    assert content(spec.golden_uri) == content(golden.golden_uri)
    assert_every_image_once(spec)


def test_the_same_images_from_parquet_and_a_sample(golden: Spec, tmp_path: Path) -> None:
    files = sorted((DEMO / "images" / "scenes").iterdir())[:40]
    cells = [{"bytes": path.read_bytes(), "path": path.name} for path in files]
    pq.write_table(pa.table({"image": cells}), tmp_path / "data.parquet")
    dataset = {"source": str(tmp_path / "data.parquet"), "limit": 20, "seed": 3}
    spec = of_demo(tmp_path, dataset=dataset)
    run("preprocess", spec)
    by_name = {row["image_id"]: row["image"] for row in rows(golden.golden_uri)}
    found = rows(spec.golden_uri)
    assert len(found) == 20
    for row in found:
        number = int(row["image_id"].rsplit("#")[1])
        assert row["image"] == by_name[f"scenes/{files[number].name}"]


def test_no_valid_image_is_bad_input(tmp_path: Path, on_cluster: Any) -> None:
    (tmp_path / "images").mkdir()
    for number in range(20):
        (tmp_path / "images" / f"{number}.jpg").write_bytes(b"<html>" if number % 2 else b"")
    spec = of_demo(tmp_path, dataset={"source": str(tmp_path / "images")})
    failed("preprocess", spec, 2, r"dataset .*/images: no usable image \(empty, not-an-image\); check the source")


def test_no_image_column_is_bad_input(tmp_path: Path, on_cluster: Any) -> None:
    pq.write_table(pa.table({"img": [b"x"]}), tmp_path / "a.parquet")
    spec = of_demo(tmp_path, dataset={"source": str(tmp_path / "a.parquet")})
    failed("preprocess", spec, 2, r"no column 'image' for image; did you mean 'img'\?")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", place], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"mounting needs root: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_disk_is_one_clear_line(small_disk: Path, tmp_path: Path, on_cluster: Any) -> None:
    spec = planned(tmp_path, str(small_disk), str(GOOD), str(DEMO / "images"))
    output = run("preprocess", spec, expected=2)
    (line,) = [line for line in output.splitlines() if "preprocess failed" in line]
    assert "(bad input, retrying cannot help): cannot write" in line
    assert line.endswith("the disk is full; free space or move ASSAY_ROOT, then rerun")
    assert not storage.exists(f"{spec.golden_uri}/manifest.json")
    for part in parts.done(spec.golden_uri):
        parts.read(spec.golden_uri, part)  # whole, every one of them


def test_a_ray_that_does_not_answer_is_trouble(tmp_path: Path, on_cluster: Any) -> None:
    failed("preprocess", of_demo(tmp_path), 1, "Ray at 127.0.0.1:9 does not answer", RAY_ADDRESS="127.0.0.1:9")
