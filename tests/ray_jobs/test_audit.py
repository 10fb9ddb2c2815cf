"""Audits in real jobs: two of the demo's checkpoints through one warm engine, and captions of a third one."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from ray_cluster import Cluster
from samples import make_spec as small
from stage_jobs import DEMO, GOOD, plan_spec, read_captions, run_stage, take_snapshot
from stored_runs import CaptionResult, Image, write_run

from ray_jobs.audit import draw_sample
from ray_jobs.contract.spec import Spec
from ray_jobs.storage import audits, manifests, objects, parts


def spread(root: str, count: int, **settings: Any) -> Spec:
    """A spec with written captions; every fourth is a failure."""
    spec = small(root=root, **settings)
    images = [Image(f"image-{number}") for number in range(count)]
    results = [
        CaptionResult(f"caption {number}") if number % 4 else CaptionResult(None, failure="engine-error")
        for number in range(count)
    ]
    write_run(spec, spec.caption_id, images, results, rows=7)
    return spec


def test_a_sample_is_of_captions_that_are_there_and_the_same_each_time(tmp_path: Path) -> None:
    spec = spread(str(tmp_path), 400, engine__audit=50)
    sample = draw_sample(spec, manifests.require_manifest(spec.captions_uri, "caption"))
    assert len(sample) == len({image_id for image_id, _ in sample.values()}) == 50
    for key, (image_id, caption) in sample.items():
        part, row = key.split("/")
        number = 7 * int(part.removeprefix("part-")) + int(row)
        assert (image_id, caption.text, caption.finish_reason) == (f"image-{number}", f"caption {number}", "stop")
        assert number % 4
    assert len({key.split("/")[0] for key in sample}) > 20  # from all over the set
    assert draw_sample(spec, manifests.require_manifest(spec.captions_uri, "caption")) == sample


def test_other_captions_have_another_sample_and_a_larger_one_holds_the_smaller(tmp_path: Path) -> None:
    def draw(count: int, **settings: Any) -> set[str]:
        spec = small(root=str(tmp_path), engine__audit=count, **settings)
        if not objects.exists(spec.captions_uri):
            spread(str(tmp_path), 100, **settings)
        return {
            image_id
            for image_id, _ in draw_sample(spec, manifests.require_manifest(spec.captions_uri, "caption")).values()
        }

    assert draw(10) < draw(20)
    assert draw(10) != draw(10, caption__prompt="what is this?")
    assert len(draw(1000)) == 75


# --- with engines -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    (folder / "images").mkdir()
    for scene in sorted((DEMO / "images" / "scenes").iterdir())[:24]:
        shutil.copy(scene, folder / "images")
    return folder


@pytest.fixture
def swapped_specs(folder: Path, on_cluster: Cluster) -> tuple[Spec, Spec]:
    """Two checkpoints that one engine captioned, the second after a weight swap."""
    models = [DEMO / "checkpoints" / "step-0200", GOOD]
    first, second = (plan_spec(folder, str(folder / "root"), str(model), str(folder / "images")) for model in models)
    if manifests.load_manifest(first.captions_uri) is None:
        on_cluster.end_engines()
        run_stage("preprocess", first)
        run_stage("caption", first)
        run_stage("caption", second)
    return first, second


@pytest.mark.integration
def test_captions_of_a_swapped_engine_are_those_of_a_fresh_one(swapped_specs: tuple[Spec, Spec]) -> None:
    first, second = (manifests.require_manifest(spec.captions_uri, "caption") for spec in swapped_specs)
    assert (first.weights_swapped, second.weights_swapped) == (False, True)
    spec = swapped_specs[1]
    output = run_stage("audit", spec)
    assert "a fresh engine for 24 of 24 captions, made by an engine that swapped weights" in output
    report = audits.read(spec.captions_uri)
    assert report
    assert (report.images, report.equal, report.ties, report.differing, report.dtype) == (24, 24, 0, 0, "float32")
    assert report.seconds["start"] > 0
    assert report.versions.keys() >= {"ray", "torch", "transformers"}
    assert audits.has_passed(spec.captions_uri)

    before = take_snapshot(spec.captions_uri)
    assert "a fresh engine" not in run_stage("audit", spec)
    assert take_snapshot(spec.captions_uri) == before


@pytest.mark.integration
def test_captions_of_another_checkpoint_are_found_and_named(swapped_specs: tuple[Spec, Spec], tmp_path: Path) -> None:
    """The second of three parts holds captions of the checkpoint before; all hashes match."""
    other, spec = swapped_specs
    planted = spec.model_copy(update={"root": str(tmp_path)})
    objects.write(planted.uri, planted.model_dump_json().encode())
    shutil.copytree(spec.golden_uri, planted.golden_uri)
    manifest = manifests.require_manifest(spec.captions_uri, "caption")
    parts_written = [
        parts.write(
            planted.captions_uri,
            part.name,
            parts.read((other if part.name == "part-00001" else spec).captions_uri, part.name),
            {"lost": {}, "swapped": True},
        )
        for part in manifest.parts
    ]
    manifests.commit(
        planted.captions_uri,
        manifests.build_manifest(
            "captions", planted.caption_id, parts_written, manifest.rows_in, {}, manifest.versions, manifest.details
        ),
    )

    right, wrong = read_captions(spec), read_captions(planted)
    expected = {image for image in right if right[image] != wrong[image]}
    assert 0 < len(expected) <= 8
    output = run_stage("audit", planted, expected=2)
    message = f"{len(expected)} of 24 are not what a fresh engine says of checkpoint {GOOD} ("
    assert message in output.splitlines()[-1]
    report = audits.read(planted.captions_uri)
    assert report
    assert (report.equal, report.ties, report.differing) == (24 - len(expected), 0, len(expected))
    assert {difference.image_id for difference in report.differences} == expected
    for difference in report.differences:
        assert (difference.stored, difference.fresh) == (wrong[difference.image_id], right[difference.image_id])
        assert difference.gap is None or difference.gap > 0.001
    assert report.worst_gap
    assert report.worst_gap > 0.001
    assert not audits.has_passed(planted.captions_uri)

    again = run_stage("audit", planted, expected=2)  # as when its red task is cleared
    assert again.splitlines()[-1].endswith(output.splitlines()[-1].partition("audit failed")[2])
    assert "a fresh engine for" not in again
