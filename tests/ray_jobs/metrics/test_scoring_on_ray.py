"""Scoring on a Ray cluster: after a kill, by the driver or by Ray Data, from S3, and with CLIP."""

import json
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import stage_jobs
import tiny_clip
from samples import checkpoint_files, draw_picture, encode_image, make_spec
from scored_images import CAPTIONS, GOLDEN
from stored_captions import write_captions, write_golden

from ray_jobs.checkpoints import inspect
from ray_jobs.contract.artifacts import Scores
from ray_jobs.contract.spec import Spec
from ray_jobs.metrics import run as scoring
from ray_jobs.metrics.clip.model import ClipModel
from ray_jobs.metrics.clip.similarity import compute_scores as clip_scores
from ray_jobs.metrics.text import corpus_counts
from ray_jobs.runtime.ray_dataset import SMALL_ROWS
from ray_jobs.storage import manifests, objects, s3_client

pytestmark = pytest.mark.integration

MEASURE_PID = """
import os
from ray_jobs.metrics import Metric
METRIC = Metric("pid", "process", +1, (0, 1e9), measure=lambda caption: os.getpid())
"""


def write_many(spec: Spec, images: int, rows: int) -> None:
    draw = random.Random(1)
    words = [f"w{number}" for number in range(200)]

    def text() -> str:
        return " ".join(draw.choices(words, range(200, 0, -1), k=draw.randint(3, 12)))

    ids = [f"{number:05d}" for number in range(images)]
    write_golden(
        spec,
        [{"image_id": image_id, "references": [text(), text()], "label": draw.choice(words)} for image_id in ids],
        rows,
    )
    write_captions(spec, [{"image_id": image_id, "caption": text()} for image_id in ids], rows)


@pytest.mark.parametrize("images", [4000, 6000], ids=["by the driver", "by Ray Data"])
def test_killed_and_resumed_it_is_what_one_go_makes(tmp_path: Path, on_cluster: object, images: int) -> None:
    """Every part is scored once, and the bytes equal those of an undisturbed run."""
    assert (images > SMALL_ROWS) == (images == 6000)
    one_part, cut = (make_spec(root=str(tmp_path / name)) for name in ("whole", "cut"))
    for spec in (one_part, cut):
        write_many(spec, images, images // 200)
        objects.write(spec.uri, spec.model_dump_json().encode())
    stage_jobs.run_stage("evaluate", one_part)
    process = stage_jobs.start_stage("evaluate", cut)
    threading.Thread(target=process.stdout.read, daemon=True).start()  # type: ignore[union-attr]
    stage_jobs.wait_until(
        lambda: len(manifests.list_part_names(cut.scores_uri)) >= 20 or process.poll() is not None, 300
    )
    process.kill()
    process.wait()
    time.sleep(1)
    before = stage_jobs.take_snapshot(f"{cut.scores_uri}/parts")
    assert not objects.exists(f"{cut.scores_uri}/manifest.json")
    assert 20 <= len(before) < 200
    stage_jobs.run_stage("evaluate", cut)
    after = stage_jobs.take_snapshot(f"{cut.scores_uri}/parts")
    assert {key: after[key] for key in before} == before
    assert stage_jobs.hash_parts(cut.scores_uri) == stage_jobs.hash_parts(one_part.scores_uri)
    for uri in (corpus_counts.references_uri, lambda spec: corpus_counts.captions_uri(spec, spec.caption_id)):
        first, other = (
            {key: sha for key, (sha, _) in stage_jobs.take_snapshot(uri(spec)).items()} for spec in (one_part, cut)
        )
        assert first == other


def test_the_driver_and_ray_data_write_the_same_scores(
    tmp_path: Path, on_cluster: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, on_ray = (make_spec(root=str(tmp_path / name)) for name in ("here", "on-ray"))
    for spec in (here, on_ray):
        write_many(spec, 6000, 500)
        objects.write(spec.uri, spec.model_dump_json().encode())
    stage_jobs.run_stage("evaluate", on_ray)
    monkeypatch.setattr(scoring, "SMALL_ROWS", 6000)
    manifest = scoring.score_captions(here, here.caption_id)
    assert manifest.parts == manifests.require_manifest(on_ray.scores_uri, "evaluate").parts
    assert manifest.details["languages"] == manifests.require_manifest(on_ray.scores_uri, "x").details["languages"]
    assert stage_jobs.hash_parts(here.scores_uri) == stage_jobs.hash_parts(on_ray.scores_uri)


def test_a_teams_own_metric_measures_in_a_ray_worker(tmp_path: Path, on_cluster: object) -> None:
    """Of a small set, too, of which the driver else scores all parts itself."""
    spec = make_spec(root=str(tmp_path)).model_copy(update={"own_metrics": {"pid": MEASURE_PID}})
    write_many(spec, 40, 4)
    objects.write(spec.uri, spec.model_dump_json().encode())
    driver = Path(__file__).with_name("score_captions.py")
    run = subprocess.run([sys.executable, driver, spec.uri], capture_output=True, text=True, check=True)
    measured = {int(row["pid"]) for row in stage_jobs.read_rows(spec.scores_uri)}
    assert measured
    assert int(run.stdout.splitlines()[-1]) not in measured


def test_on_s3_the_scores_are_those_of_a_directory(tmp_path: Path, on_cluster: object) -> None:
    s3_client.get_client().create_bucket(Bucket="scores")
    local, remote = make_spec(root=str(tmp_path)), make_spec(root="s3://scores/root")
    for spec in (local, remote):
        write_many(spec, 200, 20)
        objects.write(spec.uri, spec.model_dump_json().encode())
        stage_jobs.run_stage("evaluate", spec)
    assert stage_jobs.hash_parts(remote.scores_uri) == stage_jobs.hash_parts(local.scores_uri)


def test_clips_scores_are_merged_into_the_rows(tmp_path: Path, on_cluster: object) -> None:
    clip = inspect.resolve(str(tiny_clip.save_tiny_clip(tmp_path / "clip")))
    spec = make_spec(root=str(tmp_path / "root"), metrics__clip=clip.uri).model_copy(update={"clip": clip})
    golden = [image | {"image": encode_image(draw_picture(number))} for number, image in enumerate(GOLDEN)]
    write_golden(spec, golden, 2)
    write_captions(spec, CAPTIONS, 2)
    objects.write(spec.uri, spec.model_dump_json().encode())
    stage_jobs.run_stage("evaluate", spec)
    rows = stage_jobs.read_rows(spec.scores_uri)
    model = ClipModel(tmp_path / "clip", clip.uri)
    images = model.embed_images([image["image"] for image in golden])
    texts, references = model.embed_texts(["A dot.", "a box", ""]), model.embed_texts(["a dot", "a line"])
    expected: list[dict[str, Any]] = [
        clip_scores(texts[0] @ images[0], [texts[0] @ references[0]]),
        clip_scores(texts[1] @ images[1], [texts[1] @ references[1]]),
        clip_scores(texts[2] @ images[2], []),
        {"clipscore": None, "refclipscore": None},
    ]
    for name in ("clipscore", "refclipscore"):
        assert [row[name] for row in rows] == [pytest.approx(values[name], abs=1e-5) for values in expected]
    scores = Scores.model_validate_json(objects.read(f"{spec.run_uri}/scores.json"))
    assert (scores.metrics["clipscore"].n, scores.metrics["clipscore"].expected) == (3, 4)
    assert (scores.metrics["refclipscore"].n, scores.metrics["refclipscore"].expected) == (2, 3)

    broken = tmp_path / "no-clip"
    objects.write(f"{broken}/config.json", json.dumps({"architectures": ["X"], "model_type": "bert"}).encode())
    for name, data in checkpoint_files().items():
        if name != "config.json":
            objects.write(f"{broken}/{name}", data)
    other = spec.model_copy(update={"clip": inspect.resolve(str(broken))})
    objects.write(other.uri, other.model_dump_json().encode())
    output = stage_jobs.run_stage("evaluate", other, expected=2)
    last = output.splitlines()[-1]
    assert f"checkpoint {broken}: " in last  # its files are tried in a confined process, before any node loads them
    assert "bad input" in last
