"""Every model family captions in the real job, with Ray and vLLM. Each row is compared with transformers.

The models' weights are random, so their captions are noise; that it is the same noise, token for token, is the proof
that prompt, picture and weights arrived.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from families import FAMILIES
from PIL import Image
from ray_cluster import Cluster
from stage_jobs import (
    DEMO,
    PROMPT,
    ProcessResult,
    assert_every_image_once,
    plan_spec,
    read_rows,
    run_stage,
    start_stage,
    wait_for_exit,
)

from ray_jobs.checkpoints import inspect
from ray_jobs.contract.spec import Spec

pytestmark = pytest.mark.integration

# Sides that no patch divides, and a strip that Qwen's processor refuses: it takes at most 200 to 1.
SIZES = {"astronaut": (97, 131), "cat": (112, 74), "clock": (61, 33), "hubble": (300, 210), "coins": (28, 28),
         "flower": (1010, 5)}  # fmt: skip
STRIP = "flower.png"
MAX_TOKENS = 12
SETTINGS: dict[str, dict[str, Any]] = {name: {"keep_seconds": 0} for name in FAMILIES} | {
    "qwen3_vl": {"keep_seconds": 0, "max_model_len": 64},  # too few for the largest picture
}


@dataclass(frozen=True)
class Expected:
    """For an image: the length of the prompt, the caption, and the number of its tokens."""

    prompt_tokens: int
    caption: str
    tokens: int


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pictures")
    for name, size in SIZES.items():
        Image.open(DEMO / "images" / "photos" / f"{name}.jpg").resize(size).save(place / f"{name}.png")
    return place


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("families-root")


def plan_family(name: str, root: Path, families: dict[str, Path], pictures: Path) -> Spec:
    folder = root / name
    folder.mkdir(exist_ok=True)
    sections: dict[str, dict[str, Any]] = {
        "preprocess": {"patch": 1, "min_pixels": 16, "max_aspect": 1000.0, "max_pixels": 70_000},
        "caption": {"max_tokens": MAX_TOKENS},
        "engine": SETTINGS[name],
    }
    return plan_spec(folder, str(root), str(families[name]), str(pictures), **sections)


@pytest.fixture(scope="module")
def jobs() -> dict[str, ProcessResult]:
    """The result of each family's job."""
    return {}


@pytest.fixture
def specs_by_family(
    on_cluster: Cluster, jobs: dict[str, ProcessResult], root: Path, families: dict[str, Path], pictures: Path
) -> dict[str, Spec]:
    """The caption runs of every family over one golden set, two jobs at a time."""
    specs = {name: plan_family(name, root, families, pictures) for name in FAMILIES}
    if not jobs:
        run_stage("preprocess", next(iter(specs.values())))
        names = list(specs)
        for pair in (names[first : first + 2] for first in range(0, len(names), 2)):
            processes = [start_stage("caption", specs[name]) for name in pair]
            jobs |= {name: wait_for_exit(process) for name, process in zip(pair, processes, strict=True)}
    return specs


def by_transformers(name: str, model: Path, images: dict[str, bytes]) -> dict[str, Expected | str]:
    """Captions by greedy decoding in float32 with the model's own processor. For an image that it refuses, its
    error.

    Gemma 3's image tokens see each other both ways, by `token_type_ids`; in vLLM on a CPU they see only those before
    them, so here too. Its GPU kernels are said to do it right.
    """
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(model)
    network = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32).eval()
    answers: dict[str, Expected | str] = {}
    for image_id, image in images.items():
        content = [{"type": "image", "image": Image.open(io.BytesIO(image))}, {"type": "text", "text": PROMPT}]
        settings = {"tokenize": True, "return_dict": True, "return_tensors": "pt", "add_generation_prompt": True}
        try:
            inputs = processor.apply_chat_template([{"role": "user", "content": content}], **settings)
        except ValueError as error:
            answers[image_id] = str(error)
            continue
        if name == "gemma3":
            del inputs["token_type_ids"]
        with torch.no_grad():
            output = network.generate(**inputs, do_sample=False, max_new_tokens=MAX_TOKENS)
        length = inputs["input_ids"].shape[1]
        ids = output[0, length:].tolist()
        caption = processor.tokenizer.decode(ids, skip_special_tokens=True)
        answers[image_id] = Expected(length, caption, len(ids))
    return answers


@pytest.mark.parametrize("name", FAMILIES)
def test_every_image_is_captioned_as_transformers_would(
    specs_by_family: dict[str, Spec], jobs: dict[str, ProcessResult], name: str
) -> None:
    spec = specs_by_family[name]
    assert jobs[name].code == 0, jobs[name].output[-5000:]
    assert_every_image_once(spec)
    images = {row["image_id"]: row["image"] for row in read_rows(spec.golden_uri)}
    assert {image_id: Image.open(io.BytesIO(image)).size for image_id, image in images.items()} == {
        f"{picture}.png": size for picture, size in SIZES.items()
    }
    expected = by_transformers(name, Path(spec.checkpoint.uri), images)
    captions = set()
    for row in read_rows(spec.captions_uri):
        right = expected[row["image_id"]]
        if isinstance(right, str):  # that row alone
            assert (row["failure"], row["caption"]) == ("image-refused", None)
            assert row["detail"] == f"an image of 1010 x 5: {right}"
        elif right.prompt_tokens > spec.suite.engine.max_model_len:
            assert (row["failure"], row["caption"]) == ("engine-error", None)
            assert str(right.prompt_tokens) in row["detail"]
        else:
            assert row["failure"] is None, row["detail"]
            assert Expected(row["prompt_tokens"], row["caption"], row["tokens"]) == right
            assert row["finish_reason"] == ("length" if right.tokens == MAX_TOKENS else "stop")
            captions.add(row["caption"])
    assert len(captions) > 2  # another picture, another caption


def test_what_was_refused(specs_by_family: dict[str, Spec]) -> None:
    """One row is refused by the processor in both engines, and one by vLLM for its length. No other row is."""
    failures = {
        name: {row["image_id"]: row["failure"] for row in read_rows(spec.captions_uri) if row["failure"]}
        for name, spec in specs_by_family.items()
    }
    strip = {STRIP: "image-refused"}
    none: dict[str, str] = {}
    assert failures == {
        "qwen2_5_vl": strip,
        "qwen3_vl": strip | {"hubble.png": "engine-error"},
        "llava": none,
        "internvl": none,
        "smolvlm": none,
        "gemma3": none,
    }


def test_a_family_is_the_same_checkpoint_each_time(families: dict[str, Path], tmp_path: Path) -> None:
    for name, make in FAMILIES.items():
        make(tmp_path / name)
        assert inspect.resolve(str(tmp_path / name)).fingerprint == inspect.resolve(str(families[name])).fingerprint
