import io

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as some
from making import picture
from PIL import Image
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from ray_jobs.contract import Preprocess
from ray_jobs.images.resize import encode, resize, target_size

SIDES = some.integers(2, 12_000)


@settings(max_examples=1000, deadline=None, derandomize=True)
@given(width=SIDES, height=SIDES, patch=some.sampled_from([14, 28, 32]), budget=some.integers(4, 4096))
def test_the_target_is_the_one_the_model_would_choose(width: int, height: int, patch: int, budget: int) -> None:
    assume(max(width, height) <= 200 * min(width, height))
    given = Preprocess(patch=patch, min_pixels=4 * patch * patch, max_pixels=budget * patch * patch)
    high, wide = smart_resize(height, width, patch, given.min_pixels, given.max_pixels)
    assert target_size(width, height, given) == (wide, high)


@settings(max_examples=1000, deadline=None, derandomize=True)
@given(width=SIDES, height=SIDES)
def test_the_model_finds_nothing_left_to_resize(width: int, height: int) -> None:
    assume(max(width, height) <= 200 * min(width, height))
    once = target_size(width, height, Preprocess())
    assert once[0] % 28 == once[1] % 28 == 0
    assert target_size(*once, Preprocess()) == once


@pytest.mark.parametrize(
    ("size", "expected"),
    [((112, 112), (112, 112)), ((500, 375), (504, 364)), ((10, 10), (56, 56)), ((4000, 3000), (504, 364))],
)
def test_sizes_by_hand(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert target_size(*size, Preprocess()) == expected


def test_an_image_at_its_target_is_left_alone() -> None:
    image = picture(size=(112, 112))
    assert resize(image, Preprocess()) is image
    assert resize(picture(size=(113, 111)), Preprocess()).size == (112, 112)


def test_png_keeps_every_pixel_and_jpeg_nearly() -> None:
    image = picture(size=(112, 112))
    lossless = Image.open(io.BytesIO(encode(image, Preprocess(format="png"))))
    assert np.array_equal(np.asarray(lossless), np.asarray(image))
    smooth = Image.linear_gradient("L").resize((112, 112)).convert("RGB")
    lossy = Image.open(io.BytesIO(encode(smooth, Preprocess(format="jpeg"))))
    assert np.abs(np.asarray(lossy, dtype=int) - np.asarray(smooth, dtype=int)).max() <= 4


@pytest.mark.parametrize("form", ["png", "jpeg"])
def test_the_same_pixels_are_the_same_bytes(form: str) -> None:
    settings = Preprocess.model_validate({"format": form})
    assert encode(picture(3), settings) == encode(picture(3), settings)
