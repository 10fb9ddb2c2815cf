"""The golden set in real jobs: a Ray cluster, hostile files, every format, kills and races."""

import json
import os
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import image_formats
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from blake3 import blake3
from images import corpus
from ray_cluster import Cluster
from reply_server import Reply, serve_replies
from samples import draw_picture, encode_image, write_pictures
from stage_jobs import (
    DEMO,
    GOOD,
    ROOT,
    assert_every_image_once,
    assert_stage_fails,
    kill_when,
    plan_spec,
    read_rejects,
    read_rows,
    run_stage,
    start_stage,
    take_snapshot,
    wait_for_exit,
    wait_until,
)

from ray_jobs.contract.spec import Spec
from ray_jobs.storage import manifests, objects, parts, s3_client

pytestmark = pytest.mark.integration
FAULTY = json.loads((DEMO / "images" / "faulty" / "expected.json").read_text())
KILLS = int(os.environ.get("ASSAY_TEST_KILLS", "4"))  # read here, for no test sees the caller's ASSAY_ variables


def of_demo(folder: Path, **sections: Any) -> Spec:
    return plan_spec(folder, str(folder / "root"), str(GOOD), str(DEMO / "images"), **sections)


def content(uri: str) -> dict[str, str]:
    """The SHA-256 of every file of a golden set; of its manifest, which holds times, the fields that must be equal."""
    hashes = {key: sha for key, (sha, _) in take_snapshot(uri).items() if key != "manifest.json"}
    manifest = manifests.require_manifest(uri, "preprocess").model_dump(exclude={"seconds", "created_at"})
    manifest["details"].pop("task_seconds")
    return hashes | {"manifest.json": json.dumps(manifest)}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("undisturbed")


@pytest.fixture
def golden(undisturbed: Path, on_cluster: Any) -> Spec:
    """The golden set of the demo's images, made once without a disturbance."""
    spec = of_demo(undisturbed)
    if manifests.load_manifest(spec.golden_uri) is None:
        run_stage("preprocess", spec)
    return spec


def test_every_image_is_kept_or_rejected_with_its_reason(golden: Spec) -> None:
    manifest = manifests.require_manifest(golden.golden_uri, "golden")
    reasons = {name: outcome["reason"] for name, outcome in FAULTY.items() if outcome["outcome"] == "rejected"}
    rejects = read_rejects(golden)
    assert {row["image_id"]: row["reason"] for row in rejects} == {
        f"faulty/{name}": reason for name, reason in reasons.items()
    }
    assert manifest.rows_in == 256 + 12 + len(FAULTY)
    rows_by_id = {row["image_id"]: row for row in read_rows(golden.golden_uri)}
    repaired = {name: rows_by_id[f"faulty/{name}"]["repairs"] for name in FAULTY if name not in reasons}
    assert repaired == {name: FAULTY[name]["repaired"] for name in repaired}
    assert {(row["width"] % 28, row["height"] % 28) for row in rows_by_id.values()} == {(0, 0)}
    assert max(row["width"] * row["height"] for row in rows_by_id.values()) <= 12544
    assert_every_image_once(golden)


def test_a_complete_golden_set_is_left_as_it_is(golden: Spec) -> None:
    before = take_snapshot(golden.golden_uri)
    assert "is complete: 274 images" in run_stage("preprocess", golden)
    assert take_snapshot(golden.golden_uri) == before


# --- hostile files ----------------------------------------------------------------------------------------------------


def test_the_corpus_ends_as_its_table_says(tmp_path: Path, on_cluster: Any) -> None:
    expected = corpus.write(tmp_path / "corpus")
    manifest = tmp_path / "corpus" / "list.jsonl"
    manifest.write_text("".join(json.dumps({"path": name}) + "\n" for name in expected))
    spec = of_demo(
        tmp_path,
        dataset={"source": str(manifest)},
        preprocess={"part_rows": 64, "max_rejected_fraction": 1.0, "duplicates": "keep"},
    )
    run_stage("preprocess", spec)
    repairs = {row["image_id"]: row["repairs"] for row in read_rows(spec.golden_uri)}
    reasons = {row["image_id"]: row["reason"] for row in read_rejects(spec)}
    assert len(expected) > 60
    assert repairs == {name: ends["repairs"] for name, ends in expected.items() if ends["outcome"] == "kept"}
    for name, ends in expected.items():
        assert (name in repairs) != (name in reasons)
        assert name in repairs or reasons[name] in ends["reasons"], (name, reasons[name])
    assert_every_image_once(spec)


BROKEN_CODEC = Path(__file__).with_name("broken_codec")


def test_a_file_that_crashes_its_codec_costs_that_file(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(60):
        data = encode_image(draw_picture(number), "JPEG", quality=90, comment=f"image {number}")
        (images / f"{number:02d}.jpg").write_bytes(data)
    for name, sign in (("07", b"CRASH"), ("08", b"CRASH"), ("33", b"HANG"), ("59", b"CRASH")):
        data = (images / f"{name}.jpg").read_bytes()
        (images / f"{name}.jpg").write_bytes(data[:2] + b"\xff\xfe\x00\x07" + sign.ljust(5) + data[2:])
    dataset = {"source": str(images)}
    spec = of_demo(tmp_path, dataset=dataset, preprocess={"part_rows": 10, "decode_seconds": 1})
    path = f"{BROKEN_CODEC}:{ROOT}"
    output = run_stage("preprocess", spec, RAY_ADDRESS="local", RAY_AUTH_MODE="disabled", PYTHONPATH=path)
    assert output.count("a decoder died, so its images were decoded one by one") == 3
    assert {row["image_id"]: row["reason"] for row in read_rejects(spec)} == {
        "07.jpg": "crashed-decoder", "08.jpg": "crashed-decoder", "33.jpg": "timeout", "59.jpg": "crashed-decoder"
    }  # fmt: skip
    assert_every_image_once(spec)


def test_equal_files_are_used_once_unless_they_are_to_be_kept(tmp_path: Path, on_cluster: Any) -> None:
    images = write_pictures(tmp_path / "images", 30)
    for number in (1, 5, 20):
        (images / f"copy-of-{number:03d}.png").write_bytes((images / f"{number:03d}.png").read_bytes())
    (images / "zz.png").write_bytes((images / "005.png").read_bytes())
    dataset = {"source": str(images)}
    spec = of_demo(tmp_path, dataset=dataset, preprocess={"max_rejected_fraction": 0.2})
    run_stage("preprocess", spec)
    assert {row["image_id"]: (row["reason"], row["detail"]) for row in read_rejects(spec)} == {
        "copy-of-001.png": ("duplicate", "the same bytes as 001.png"),
        "copy-of-005.png": ("duplicate", "the same bytes as 005.png"),
        "copy-of-020.png": ("duplicate", "the same bytes as 020.png"),
        "zz.png": ("duplicate", "the same bytes as 005.png"),
    }
    assert all(row["thumbnail"] for row in read_rejects(spec))
    assert_every_image_once(spec)
    keeping_spec = of_demo(tmp_path, dataset=dataset, preprocess={"duplicates": "keep"})
    assert keeping_spec.golden_uri != spec.golden_uri
    run_stage("preprocess", keeping_spec)
    assert manifests.require_manifest(keeping_spec.golden_uri, "preprocess").rows_out == 34


def test_rows_of_one_image_are_one_image_with_all_references(tmp_path: Path, on_cluster: Any) -> None:
    """One row per caption, as Parquet files of COCO and Flickr30k have them. Nothing is lost, so no limit is
    reached."""
    pictures = [encode_image(draw_picture(number)) for number in range(4)]
    place = tmp_path / "data"
    place.mkdir()
    for shard in range(5):
        captions = [f"{number} {shard % 3}" for number in range(4)]  # the last two shards say nothing new
        table = pa.table({"image": pa.array(pictures, pa.binary()), "caption": captions})
        pq.write_table(table, place / f"part-{shard}.parquet")
    dataset = {"source": str(place), "references": "caption"}
    spec = of_demo(tmp_path, dataset=dataset, preprocess={"part_rows": 3})
    run_stage("preprocess", spec)
    assert [row["references"] for row in read_rows(spec.golden_uri)] == [
        [f"{number} {shard}" for shard in range(3)] for number in range(4)
    ]
    assert manifests.require_manifest(spec.golden_uri, "preprocess").lost == {"joined": 16}
    assert_every_image_once(spec)


def test_too_many_rejects_fail_the_run_also_for_a_suite_that_comes_later(tmp_path: Path, on_cluster: Any) -> None:
    write_pictures(tmp_path / "images", 20)
    manifest = tmp_path / "list.csv"
    manifest.write_text("image\n" + "".join(f"images/{number:03d}.png\n" for number in range(24)))
    spec = of_demo(tmp_path, dataset={"source": str(manifest)})
    message = (
        r"4 of 24 images rejected \(4 unreadable-source\), more than max_rejected_fraction 0.1; see .*rejects.html"
    )
    assert_stage_fails("preprocess", spec, 2, message)
    before = take_snapshot(f"{spec.golden_uri}/parts")
    raised = of_demo(tmp_path, dataset={"source": str(manifest)}, preprocess={"max_rejected_fraction": 0.5})
    assert raised.golden_uri == spec.golden_uri
    run_stage("preprocess", raised)
    assert take_snapshot(f"{spec.golden_uri}/parts") == before  # made once, for both
    assert manifests.require_manifest(spec.golden_uri, "preprocess").rows_out == 20
    spec = of_demo(tmp_path, dataset={"source": str(manifest)})
    output = run_stage("preprocess", spec, expected=2)
    assert "4 of 24 images rejected (4 unreadable-source), more than max_rejected_fraction 0.1" in output


# --- every format -----------------------------------------------------------------------------------------------------


def test_the_same_images_from_every_format(tmp_path: Path, on_cluster: Any) -> None:
    """The format changes nothing in the images, their references and labels."""
    formats = (
        image_formats.folder,
        image_formats.parquet_of_structs,
        image_formats.huggingface,
        image_formats.webdataset_folder,
    )
    contents = {}
    with serve_replies(lambda path, time: Reply(body=image_formats.PICTURES[int(path.strip("/"))])) as server:
        offers: dict[str, dict[str, Any]] = {
            make_format.__name__: make_format(tmp_path / make_format.__name__) for make_format in formats
        }
        lines = [row | {"file_name": f"{server}/{n}"} for n, row in enumerate(image_formats.make_rows())]
        offers["manifest over http"] = {"source": image_formats.write_jsonl(tmp_path / "list.jsonl", lines)}
        for name, settings in offers.items():
            columns = {"references": "caption", "label": "kind"}
            dataset = settings | {"source": str(settings["source"])} | columns
            spec = of_demo(tmp_path, dataset=dataset, preprocess={"part_rows": 3})
            run_stage("preprocess", spec)
            contents[name] = [
                (row["blake3"], row["image"], row["references"], row["label"]) for row in read_rows(spec.golden_uri)
            ]
    assert [row[0] for row in contents["folder"]] == [blake3(picture).hexdigest() for picture in image_formats.PICTURES]
    assert [row[2] for row in contents["folder"]] == image_formats.CAPTIONS
    assert all(rows == contents["folder"] for rows in contents.values())


def test_on_s3_it_is_the_same_as_on_disk(golden: Spec, swift: dict[str, str], tmp_path: Path) -> None:
    bucket = f"s3://golden-{random.randrange(10**9)}"
    s3_client.get_client().create_bucket(Bucket=bucket.removeprefix("s3://"))
    names = sorted(path.relative_to(DEMO / "images").as_posix() for path in (DEMO / "images" / "faulty").iterdir())
    names += sorted(path.relative_to(DEMO / "images").as_posix() for path in (DEMO / "images" / "photos").iterdir())
    for name in names:
        objects.write(f"{bucket}/images/{name}", (DEMO / "images" / name).read_bytes())
    loose = {"max_rejected_fraction": 0.5}
    spec = plan_spec(tmp_path, f"{bucket}/root", str(GOOD), f"{bucket}/images", preprocess=loose)
    run_stage("preprocess", spec)
    by_name = {row["image_id"]: row for row in read_rows(golden.golden_uri)}
    rows = read_rows(spec.golden_uri)
    assert len(rows) == 6 + 12
    assert all(row == by_name[row["image_id"]] for row in rows)
    assert [row for row in read_rejects(golden) if row["image_id"] in names] == read_rejects(spec)
    assert_every_image_once(spec)


def test_a_sample_is_drawn_and_its_plan_told(tmp_path: Path, on_cluster: Any) -> None:
    write_pictures(tmp_path / "images", 60)
    spec = of_demo(tmp_path, dataset={"source": str(tmp_path / "images"), "limit": 20, "seed": 3})
    output = run_stage("preprocess", spec)
    assert ": 20 images of 60 listed" in output
    assert " ms per image, measured on " in output
    assert manifests.require_manifest(spec.golden_uri, "preprocess").details["listed"] == 60
    assert_every_image_once(spec)


# --- kills and races --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with duplicates and rejects among them, so that every phase of the job has work."""
    images = tmp_path_factory.mktemp("collection")
    for number in range(400):
        data = encode_image(draw_picture(number, (64 + number // 100, 48)), "JPEG")
        (images / f"{number:03d}.jpg").write_bytes(data)
        if number % 16 == 0:
            (images / f"{number:03d}-again.jpg").write_bytes(data)
            (images / f"{number:03d}-cut.jpg").write_bytes(data[: len(data) * 9 // 10])
    return images


def of_collection(folder: Path, collection: Path) -> Spec:
    folder.mkdir(exist_ok=True)
    loose = {"part_rows": 12, "max_rejected_fraction": 0.2}
    return of_demo(folder, dataset={"source": str(collection)}, preprocess=loose)


def has_parts(spec: Spec, count: int) -> bool:
    return len(manifests.list_part_names(spec.golden_uri)) >= count


def test_killed_at_random_instants_it_ends_with_the_same_bytes(
    collection: Path, tmp_path: Path, on_cluster: Any
) -> None:
    """ASSAY_TEST_KILLS=25 makes more kills."""
    whole_spec = of_collection(tmp_path / "whole", collection)
    planned_at = f"{whole_spec.golden_uri}/plan/plan.json"
    began = start_stage("preprocess", whole_spec)
    wait_until(lambda: objects.exists(planned_at), 120)
    working = time.monotonic()
    assert wait_for_exit(began).code == 0
    lasts = time.monotonic() - working
    expected = content(whole_spec.golden_uri)
    assert manifests.require_manifest(whole_spec.golden_uri, "preprocess").lost == {"duplicate": 25, "truncated": 25}
    chance = random.Random(KILLS)
    for number in range(KILLS):
        spec = of_collection(tmp_path / str(number), collection)
        process = start_stage("preprocess", spec)
        wait_until(partial(objects.exists, f"{spec.golden_uri}/plan"), 120)
        time.sleep(chance.uniform(0, lasts))
        process.kill()
        process.communicate()
        before = take_snapshot(f"{spec.golden_uri}/parts")
        run_stage("preprocess", spec)
        after = take_snapshot(f"{spec.golden_uri}/parts")
        again = [name for name, was in before.items() if after[name] != was]
        rewritten = [name for name in again if after[name][0] == before[name][0]]
        assert rewritten == []  # what was done is not done again, but for what still had duplicates in it
        assert content(spec.golden_uri) == expected, f"kill {number}"
        assert_every_image_once(spec)


def test_a_killed_job_logs_that_it_resumes(collection: Path, tmp_path: Path, on_cluster: Any) -> None:
    spec = of_collection(tmp_path / "killed", collection)
    kill_when(start_stage("preprocess", spec), partial(has_parts, spec, 3))
    assert manifests.load_manifest(spec.golden_uri) is None
    assert "resuming" in run_stage("preprocess", spec)
    assert_every_image_once(spec)


def test_killed_workers_and_decoders_are_replaced(collection: Path, tmp_path: Path, on_cluster: Cluster) -> None:
    spec = of_collection(tmp_path / "workers", collection)
    process = start_stage("preprocess", spec)
    for count in (2, 8):
        wait_until(partial(has_parts, spec, count), 120)
        for victim in on_cluster.head.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                line = " ".join(victim.cmdline())
                if "forkserver" in line if count == 2 else line.startswith("ray::Map"):
                    victim.kill()
    result = wait_for_exit(process)
    assert result.code == 0, result.output[-3000:]
    assert manifests.require_manifest(spec.golden_uri, "preprocess").lost == {"duplicate": 25, "truncated": 25}
    assert_every_image_once(spec)


def test_two_at_once_share_the_work(collection: Path, tmp_path: Path, on_cluster: Any) -> None:
    spec = of_collection(tmp_path / "both", collection)
    both = [wait_for_exit(process) for process in [start_stage("preprocess", spec) for _ in range(2)]]
    assert [result.code for result in both] == [0, 0]
    assert any("parts were made by another job meanwhile" in result.output for result in both)
    assert manifests.require_manifest(spec.golden_uri, "preprocess").lost == {"duplicate": 25, "truncated": 25}
    assert_every_image_once(spec)


# --- bad input and trouble --------------------------------------------------------------------------------------------


def test_no_valid_image_is_bad_input(tmp_path: Path, on_cluster: Any) -> None:
    (tmp_path / "images").mkdir()
    for number in range(20):
        (tmp_path / "images" / f"{number}.jpg").write_bytes(b"<html>" if number % 2 else b"")
    spec = of_demo(tmp_path, dataset={"source": str(tmp_path / "images")})
    assert_stage_fails(
        "preprocess", spec, 2, r"dataset .*/images: no usable image \(10 empty, 10 not-an-image\); check the source"
    )


@pytest.mark.parametrize(
    ("settings", "rows_of_manifest", "message"),
    [
        (
            {"references": "said"}, [{"file": f"images/00{n}.png", "said": {"id": n, "n": 1}} for n in range(3)],
            r"no usable image \(3 unreadable-source\); .*; the first, images/000.png: references 'said': "
            r"an object \(\{id, n\}\) without one obvious text; name a column of texts$",
        ),
        (
            {"references": "said"}, [{"file": f"images/00{n}.png", "said": None} for n in range(3)],
            "none of the 3 images has a reference in 'said'; correct `dataset.references` or leave it out$",
        ),
        (
            {"label": "kind"}, [{"file": f"images/00{n}.png", "kind": ["", float("nan"), []][n]} for n in range(3)],
            "none of the 3 images has a label in 'kind'; correct `dataset.label` or leave it out$",
        ),
    ],
    ids=["no-text", "no-reference", "no-label"],
)  # fmt: skip
def test_texts_that_no_row_has_are_bad_input(
    tmp_path: Path, on_cluster: Any, settings: dict[str, str], rows_of_manifest: list[dict[str, Any]], message: str
) -> None:
    write_pictures(tmp_path / "images", 3)
    source = image_formats.write_jsonl(tmp_path / "m.jsonl", rows_of_manifest)
    assert_stage_fails("preprocess", of_demo(tmp_path, dataset={"source": str(source), **settings}), 2, message)


def test_no_image_column_is_bad_input(tmp_path: Path, on_cluster: Any) -> None:
    (tmp_path / "list.csv").write_text("img,caption\na.png,x\n")
    spec = of_demo(tmp_path, dataset={"source": str(tmp_path / "list.csv"), "image": "image"})
    assert_stage_fails("preprocess", spec, 2, r"no column 'image' for image; did you mean 'img'\?")


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
    spec = plan_spec(tmp_path, str(small_disk), str(GOOD), str(DEMO / "images"))
    output = run_stage("preprocess", spec, expected=2)
    (line,) = [line for line in output.splitlines() if "preprocess failed" in line]
    assert "(bad input, retrying cannot help): cannot write" in line
    assert line.endswith("the disk is full; free space or move ASSAY_ROOT, then rerun")
    assert not objects.exists(f"{spec.golden_uri}/manifest.json")
    for part in manifests.list_part_names(spec.golden_uri):
        parts.read(spec.golden_uri, part)  # whole, every one of them


def test_a_ray_that_does_not_answer_is_trouble(tmp_path: Path, on_cluster: Any) -> None:
    assert_stage_fails(
        "preprocess", of_demo(tmp_path), 1, "Ray at 127.0.0.1:9 does not answer", RAY_ADDRESS="127.0.0.1:9"
    )
