"""Captions in real jobs: Ray, vLLM and the demo's good checkpoint, compared with transformers; kills, force, input
errors.

One run of the checkpoint over the demo's images serves most tests; what needs an engine of its own says why.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray_cluster import Cluster
from samples import encode_shard
from stage_jobs import (
    DEMO,
    GOOD,
    PROMPT,
    assert_every_image_once,
    assert_stage_fails,
    kill_when,
    plan_spec,
    read_captions,
    read_rows,
    run_stage,
    start_stage,
    take_snapshot,
    wait_for_exit,
    wait_until,
)

from ray_jobs.checkpoints import inspect
from ray_jobs.contract.spec import Spec
from ray_jobs.storage import manifests, objects

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("captions")


def of_demo(folder: Path, model: Path = GOOD, **sections: Any) -> Spec:
    return plan_spec(folder, str(folder / "root"), str(model), str(DEMO / "images"), **sections)


@pytest.fixture
def golden(folder: Path, on_cluster: Cluster) -> Spec:
    spec = of_demo(folder)
    if manifests.load_manifest(spec.golden_uri) is None:
        run_stage("preprocess", spec)
    return spec


@pytest.fixture
def captioned_spec(golden: Spec) -> Spec:
    """The captions of the good checkpoint; its first driver is killed as soon as some parts are done."""
    if manifests.load_manifest(golden.captions_uri) is None:
        kill_when(start_stage("caption", golden), lambda: len(manifests.list_part_names(golden.captions_uri)) >= 2)
        assert manifests.load_manifest(golden.captions_uri) is None
        before = take_snapshot(f"{golden.captions_uri}/parts")
        assert 2 <= len(before) < 35
        output = run_stage("caption", golden)
        assert "resuming" in output
        assert before.items() <= take_snapshot(f"{golden.captions_uri}/parts").items(), "a part was done again"
    return golden


def test_killed_and_run_again_every_image_has_its_caption_once(captioned_spec: Spec) -> None:
    manifest = manifests.require_manifest(captioned_spec.captions_uri, "caption")
    assert (manifest.rows_in, manifest.rows_out, manifest.lost) == (274, 274, {})
    assert_every_image_once(captioned_spec)


def by_transformers(model: Path, images: list[bytes], max_tokens: int) -> list[list[int]]:
    """Greedy decoding in float32. Returns the generated token ids of each image, the end token included."""
    import io

    import torch
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(model)
    processor.tokenizer.padding_side = "left"
    network = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32).eval()
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": PROMPT}]}]
    prompt = processor.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    end, captions = processor.tokenizer.eos_token_id, []
    for first in range(0, len(images), 64):
        pixels = [[Image.open(io.BytesIO(image)).convert("RGB")] for image in images[first : first + 64]]
        inputs = processor(text=[prompt] * len(pixels), images=pixels, return_tensors="pt", padding=True)
        with torch.no_grad():
            output = network.generate(**inputs, do_sample=False, max_new_tokens=max_tokens)
        for tokens in output[:, inputs.input_ids.shape[1] :].tolist():
            captions.append(tokens[: tokens.index(end) + 1] if end in tokens else tokens)
    return captions


def test_every_scene_is_captioned_as_transformers_would(captioned_spec: Spec) -> None:
    from transformers import AutoTokenizer

    golden = {row["image_id"]: row["image"] for row in read_rows(captioned_spec.golden_uri)}
    rows_by_id = {row["image_id"]: row for row in read_rows(captioned_spec.captions_uri)}
    scenes = [name for name in golden if name.startswith("scenes/")]
    assert len(scenes) == 256
    expected = by_transformers(GOOD, [golden[name] for name in scenes], 32)
    tokenizer = AutoTokenizer.from_pretrained(GOOD)
    texts = tokenizer.batch_decode(expected, skip_special_tokens=True)
    assert [name for name, text in zip(scenes, texts, strict=True) if rows_by_id[name]["caption"] != text] == []
    assert [rows_by_id[name]["tokens"] for name in scenes] == [len(tokens) for tokens in expected]
    assert {rows_by_id[name]["finish_reason"] for name in scenes} == {"stop"}
    truth = [json.loads(line) for line in (DEMO / "images" / "metadata.jsonl").read_text().splitlines()]
    right = sum(rows_by_id[row["file_name"]]["caption"] == row["caption"] for row in truth)
    assert right / len(truth) > 0.9  # it has learned to see


def test_times_and_counts_are_kept(captioned_spec: Spec) -> None:
    manifest = manifests.require_manifest(captioned_spec.captions_uri, "caption")
    assert {"cold_start", "steady", "tail", "render", "queue", "prefill", "decode"} <= set(manifest.seconds)
    assert manifest.details["engine"]["kind"] == "warm"
    assert all(took >= 0 for took in manifest.seconds.values())
    assert manifest.versions["ray"]
    for row in read_rows(captioned_spec.captions_uri):
        assert row["finished"] >= row["arrived"] > 0
        assert row["prompt_tokens"] > 16  # the image alone
        assert 1 <= row["tokens"] <= 32


def test_a_second_run_captions_nothing(captioned_spec: Spec) -> None:
    before = take_snapshot(captioned_spec.captions_uri)
    output = run_stage("caption", captioned_spec)
    assert "are complete: 274 images" in output
    assert "engine: asking" not in output
    assert take_snapshot(captioned_spec.captions_uri) == before


def test_a_lost_manifest_comes_back_without_an_engine(captioned_spec: Spec) -> None:
    before = take_snapshot(f"{captioned_spec.captions_uri}/parts")
    objects.delete(f"{captioned_spec.captions_uri}/manifest.json")
    assert "engine: asking" not in run_stage("caption", captioned_spec)
    assert take_snapshot(f"{captioned_spec.captions_uri}/parts") == before
    assert_every_image_once(captioned_spec)


def test_captions_follow_their_images_through_a_killed_engine(
    captioned_spec: Spec, tmp_path: Path, on_cluster: Cluster
) -> None:
    """Every scene twice, images shifted by one row: long enough to kill the engine in the middle."""
    images = [row for row in read_rows(captioned_spec.golden_uri) if row["image_id"].startswith("scenes/")]
    moved = [images[(number + 1) % len(images)] for number in range(len(images))] * 2
    pq.write_table(pa.table({"image": [row["image"] for row in moved]}), tmp_path / "moved.parquet")
    settings: dict[str, Any] = {"preprocess": {"part_rows": 32, "duplicates": "keep"}, "engine": {"max_num_seqs": 1}}
    spec = of_demo(tmp_path, dataset={"source": str(tmp_path / "moved.parquet")}, **settings)
    run_stage("preprocess", spec)

    on_cluster.end_engines()
    process = start_stage("caption", spec)
    wait_until(lambda: on_cluster.engine() is not None or process.poll() is not None, 600)
    engine = on_cluster.engine()
    wait_until(lambda: bool(manifests.list_part_names(spec.captions_uri)) or process.poll() is not None, 600)
    assert engine
    assert engine.is_running()
    engine.kill()
    assert len(manifests.list_part_names(spec.captions_uri)) < 15
    result = wait_for_exit(process)
    assert result.code == 0, result.output[-5000:]  # with no human hand

    assert_every_image_once(spec)
    assert manifests.require_manifest(spec.captions_uri, "caption").lost == {}
    expected = read_captions(captioned_spec)
    captions = [row["caption"] for row in read_rows(spec.captions_uri)]
    assert captions == [expected[row["image_id"]] for row in moved]


def test_forced_captions_are_computed_again_and_equal(captioned_spec: Spec, folder: Path) -> None:
    before, old = read_captions(captioned_spec), take_snapshot(f"{captioned_spec.captions_uri}/parts")
    forced_spec = captioned_spec.model_copy(update={"force": "manual__1"})
    objects.write(forced_spec.uri, forced_spec.model_dump_json().encode())
    assert "engine: asking" in run_stage("caption", forced_spec)
    assert read_captions(forced_spec) == before
    parts_folder = manifests.parts_folder_of(manifests.load_manifest(forced_spec.captions_uri))
    assert parts_folder != "parts"  # written beside the old folder, which stays for its readers
    assert take_snapshot(f"{captioned_spec.captions_uri}/parts") == old
    assert set(take_snapshot(f"{forced_spec.captions_uri}/{parts_folder}")) == set(old)
    assert "are complete" in run_stage("caption", forced_spec)  # a retry of the same forced request
    assert_every_image_once(forced_spec)


def test_an_answer_without_its_image_is_a_failure_and_a_cut_one_says_so(on_cluster: Any) -> None:
    """A separate engine gets requests that no golden set would produce."""
    from stage_jobs import ENGINE

    image = DEMO / "images" / "scenes" / "scene-000.png"
    command = [
        sys.executable,
        str(Path(__file__).with_name("ask_cold_engine.py")),
        str(GOOD),
        str(image),
        json.dumps(ENGINE),
    ]
    process = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert process.returncode == 0, process.stderr[-4000:]
    (line,) = [line for line in process.stdout.splitlines() if line.startswith("ANSWERS ")]
    answer = json.loads(line.removeprefix("ANSWERS "))
    assert (answer["whole"]["finish_reason"], answer["whole"]["failure"]) == ("stop", None)
    assert answer["whole"]["text"].startswith("one ")
    assert (answer["cut"]["finish_reason"], answer["cut"]["tokens"]) == ("length", 3)
    assert answer["whole"]["text"].startswith(answer["cut"]["text"].strip())
    assert (answer["blind"]["failure"], answer["blind"]["text"]) == ("image-missing", None)
    assert answer["blind"]["prompt_tokens"] < answer["whole"]["prompt_tokens"]
    assert (answer["other-key"]["failure"], answer["other-key"]["text"]) == ("engine-error", None)  # vLLM's own refusal
    assert (answer["long"]["failure"], answer["long"]["text"]) == ("engine-error", None)
    assert len(answer) == 5


# --- bad input --------------------------------------------------------------------------------------------------------


def copy(place: Path, **config: Any) -> Path:
    """A copy of the good checkpoint with some of its config replaced."""
    shutil.copytree(GOOD, place)
    settings = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(settings | config))
    return place


def with_golden(captioned_spec: Spec, spec: Spec) -> Spec:
    """The spec over the existing golden set."""
    moved = spec.model_copy(update={"root": captioned_spec.root})
    objects.write(moved.uri, moved.model_dump_json().encode())
    assert moved.golden_uri == captioned_spec.golden_uri
    return moved


def test_an_architecture_that_vllm_lacks(golden: Spec, tmp_path: Path) -> None:
    model = copy(tmp_path / "model", architectures=["NopeForConditionalGeneration"])
    spec = with_golden(golden, of_demo(tmp_path, model))
    assert_stage_fails(
        "caption", spec, 2, f"checkpoint {model}: vLLM cannot run it: .*'NopeForConditionalGeneration'", in_ray=True
    )


def test_a_checkpoint_overwritten_since_it_was_planned(golden: Spec, tmp_path: Path) -> None:
    model = copy(tmp_path / "model")
    spec = with_golden(golden, of_demo(tmp_path, model))
    shutil.copytree(DEMO / "checkpoints" / "step-0200", model, dirs_exist_ok=True)
    assert_stage_fails(
        "caption", spec, 2, rf"checkpoint {model}: \S+ and \d more were overwritten since this run was planned"
    )
    assert manifests.list_part_names(spec.captions_uri) == set()


def test_a_text_only_model_cannot_see(golden: Spec, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(GOOD / name, model)
    (model / "config.json").write_text(json.dumps({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}))
    (model / "model.safetensors").write_bytes(encode_shard({"a": bytes(8)}))
    spec = with_golden(golden, of_demo(tmp_path, model))
    assert_stage_fails("caption", spec, 2, f"checkpoint {model}: .*(cannot see|processor does not load)")


def test_captions_need_a_golden_set(tmp_path: Path, on_cluster: Any) -> None:
    assert_stage_fails("caption", of_demo(tmp_path), 2, "the preprocess stage is not complete; run it first")


def test_the_planned_checkpoint_is_the_demo_one() -> None:
    assert inspect.resolve(str(GOOD)).name == "step-0800"
