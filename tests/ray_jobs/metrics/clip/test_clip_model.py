"""The CLIP model against transformers used directly."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import tiny_clip
import torch
from PIL import Image
from samples import draw_picture, encode_image
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

from ray_jobs.inputs.errors import InputError
from ray_jobs.metrics.clip.model import PREFIX, ClipModel


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip.save_tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def ours(folder: Path) -> ClipModel:
    return ClipModel(folder, "/models/clip")


@pytest.fixture(scope="module")
def theirs(folder: Path) -> CLIPModel:
    return CLIPModel.from_pretrained(folder).eval()


def cosines(theirs: CLIPModel, folder: Path, text: str, image: bytes) -> float:
    """The cosine of one short text and one image, by CLIPModel's own forward pass."""
    inputs = dict(AutoImageProcessor.from_pretrained(folder)(Image.open(io.BytesIO(image)), return_tensors="pt"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = [0, *tokenizer(PREFIX + text, add_special_tokens=False)["input_ids"], 1]
    with torch.inference_mode():
        output = theirs(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)).long(), **inputs)
    return float((output.text_embeds @ output.image_embeds.T)[0, 0])


def test_embeddings_of_short_texts_equal_transformers(ours: ClipModel, theirs: CLIPModel, folder: Path) -> None:
    texts = ["w1 w2 w3", "", "w4", "w5 w6 w7 w8 w9 w10 w11 w12 w13 w14 w15", "unknown 狗 🙂"]
    images = [encode_image(draw_picture(seed)) for seed in range(len(texts))]
    cosines_of_ours = (ours.embed_texts(texts) * ours.embed_images(images)).sum(axis=1)
    assert cosines_of_ours == pytest.approx(
        [cosines(theirs, folder, text, image) for text, image in zip(texts, images, strict=True)], abs=1e-5
    )


def test_a_long_text_is_the_mean_of_its_windows_weighted_by_tokens(ours: ClipModel, theirs: CLIPModel) -> None:
    """14 tokens per window. With the three of the prefix, 20 words are 23 tokens: windows of 14 and 9."""
    ids = [3, 4, 5, *range(6, 26)]
    windows = [ids[:14], ids[14:]]
    with torch.inference_mode():
        features = [theirs.get_text_features(input_ids=torch.tensor([[0, *window, 1]])) for window in windows]
    units = [
        np.asarray(getattr(feature, "pooler_output", feature)[0])
        / np.linalg.norm(getattr(feature, "pooler_output", feature)[0])
        for feature in features
    ]
    mean = 14 * units[0] + 9 * units[1]
    (embedding,) = ours.embed_texts([" ".join(f"w{number}" for number in range(20))])
    assert embedding == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)


def test_the_end_of_a_long_text_counts(ours: ClipModel) -> None:
    start = " ".join(["w1"] * 40)
    first, other = ours.embed_texts([f"{start} w2", f"{start} w3"])
    assert not np.allclose(first, other, atol=1e-4)


def test_a_text_does_not_depend_on_what_it_is_batched_with(ours: ClipModel) -> None:
    texts = [" ".join(f"w{(number * step) % 90}" for step in range(number)) for number in range(40)] * 5
    alone = np.concatenate([ours.embed_texts([text]) for text in texts[:40]])
    assert ours.embed_texts(texts)[:40] == pytest.approx(alone, abs=1e-5)


def test_vectors_have_length_1_and_no_input_gives_none(ours: ClipModel) -> None:
    assert np.linalg.norm(ours.embed_texts(["w1 " * 4000, ""]), axis=1) == pytest.approx([1, 1])
    assert ours.embed_texts([]).shape == ours.embed_images([]).shape == (0, 12)


def test_what_is_no_clip_model_is_one_clear_line(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["X"], "model_type": "bert"}))
    with pytest.raises(InputError, match="CLIP model s3://m/x: cannot be loaded") as error:
        ClipModel(tmp_path, "s3://m/x")
    assert "\n" not in str(error.value)
