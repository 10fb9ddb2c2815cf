import io

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as some
from PIL import Image
from samples import draw_picture
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.images.resize import compute_target_size, encode, resize, turn_upright

SIDES = some.integers(2, 12_000)


def pixels(seed: int = 0, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    return np.asarray(draw_picture(seed, size))


@settings(max_examples=1000, deadline=None, derandomize=True)
@given(width=SIDES, height=SIDES, patch=some.sampled_from([14, 28, 32]), budget=some.integers(4, 4096))
def test_the_target_is_the_one_the_model_would_choose(width: int, height: int, patch: int, budget: int) -> None:
    assume(max(width, height) <= 200 * min(width, height))
    preprocess = Preprocess(patch=patch, min_pixels=4 * patch * patch, max_pixels=budget * patch * patch)
    high, wide = smart_resize(height, width, patch, preprocess.min_pixels, preprocess.max_pixels)
    assert compute_target_size(width, height, preprocess) == (wide, high)


@settings(max_examples=1000, deadline=None, derandomize=True)
@given(width=SIDES, height=SIDES)
def test_the_model_finds_nothing_left_to_resize(width: int, height: int) -> None:
    assume(max(width, height) <= 200 * min(width, height))
    once = compute_target_size(width, height, Preprocess())
    assert once[0] % 28 == once[1] % 28 == 0
    assert compute_target_size(*once, Preprocess()) == once


@settings(max_examples=500, deadline=None, derandomize=True)
@given(width=SIDES, height=SIDES)
def test_an_image_on_its_side_has_its_target_on_its_side(width: int, height: int) -> None:
    """So an image may be resized before it is turned upright."""
    assume(max(width, height) <= 200 * min(width, height))
    assert compute_target_size(width, height, Preprocess()) == compute_target_size(height, width, Preprocess())[::-1]


@pytest.mark.parametrize(
    ("size", "expected"),
    [((112, 112), (112, 112)), ((500, 375), (504, 364)), ((10, 10), (56, 56)), ((4000, 3000), (504, 364))],
)
def test_sizes_by_hand(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert compute_target_size(*size, Preprocess()) == expected


@pytest.mark.parametrize("filter", ["fast", "lanczos"])
def test_an_image_at_its_target_is_left_alone(filter: str) -> None:
    preprocess = Preprocess.model_validate({"filter": filter})
    there = pixels(size=(112, 112))
    assert resize(there, (112, 112), preprocess) is there
    assert resize(pixels(size=(113, 111)), (112, 112), preprocess).shape == (112, 112, 3)


@pytest.mark.parametrize("size", [(56, 28), (28, 28), (140, 84)])
def test_lanczos_is_pillows(size: tuple[int, int]) -> None:
    expected = np.asarray(draw_picture().resize(size, Image.Resampling.LANCZOS))
    assert np.array_equal(resize(pixels(), size, Preprocess(filter="lanczos")), expected)


def test_what_is_shrunk_a_lot_is_averaged_and_not_sampled() -> None:
    """A chessboard of single pixels averages to grey; sampling gives black, white or a pattern."""
    board = np.repeat((np.indices((280, 280)).sum(axis=0) % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)
    small = resize(board, (56, 56), Preprocess()).astype(int)
    assert np.abs(small - 127).max() <= 8


@pytest.mark.parametrize("filter", ["fast", "lanczos"])
def test_edges_of_a_slight_change_of_size_stay_where_they_are(filter: str) -> None:
    """Half black, half white, 500 wide to 504: no half-pixel shift."""
    half = np.zeros((375, 500, 3), dtype=np.uint8)
    half[:, 250:] = 255
    row = resize(half, (504, 364), Preprocess.model_validate({"filter": filter}))[:, :, 0].astype(int)
    assert np.abs(row + row[:, ::-1] - 255).max() <= 1


def test_upright_turns_each_orientation_its_own_way() -> None:
    turned = [turn_upright(pixels(), number) for number in range(1, 9)]
    assert [image.shape[:2] for image in turned] == [(48, 64)] * 4 + [(64, 48)] * 4
    assert len({image.tobytes() for image in turned}) == 8
    assert np.array_equal(turn_upright(pixels(), 6), np.rot90(pixels(), -1))  # a quarter turn clockwise (EXIF 2.3)


def test_png_keeps_every_pixel_and_jpeg_nearly() -> None:
    there = pixels(size=(112, 112))
    lossless = Image.open(io.BytesIO(encode(there, Preprocess(format="png"))))
    assert np.array_equal(np.asarray(lossless), there)
    smooth = np.asarray(Image.linear_gradient("L").resize((112, 112)).convert("RGB"))
    lossy = Image.open(io.BytesIO(encode(smooth, Preprocess(format="jpeg"))))
    assert np.abs(np.asarray(lossy, dtype=int) - smooth).max() <= 4


def test_a_higher_quality_is_nearer_to_the_pixels() -> None:
    def mean_error(quality: int) -> float:
        data = encode(pixels(), Preprocess(format="jpeg", quality=quality))
        return float(np.abs(np.asarray(Image.open(io.BytesIO(data)), dtype=int) - pixels()).mean())

    assert mean_error(98) < mean_error(80) < mean_error(20)


@pytest.mark.parametrize("form", ["png", "jpeg"])
def test_the_same_pixels_are_the_same_bytes(form: str) -> None:
    settings = Preprocess.model_validate({"format": form})
    assert encode(pixels(3), settings) == encode(pixels(3).copy(), settings)
