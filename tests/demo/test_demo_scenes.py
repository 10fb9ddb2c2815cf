import hashlib
import json
import random
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from demo import scenes


def pixels(image: Image.Image) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()


def test_the_committed_images_and_captions_are_remade_byte_for_byte(tmp_path: Path, demo: Path) -> None:
    scenes.main(tmp_path)
    paths = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert len(paths) == 257
    assert [path for path in paths if (tmp_path / path).read_bytes() != (demo / "images" / path).read_bytes()] == []
    assert len(list((demo / "images" / "scenes").iterdir())) == 256


def test_metadata_follows_the_imagefolder_convention(demo: Path) -> None:
    rows = [json.loads(line) for line in (demo / "images" / "metadata.jsonl").read_text().splitlines()]
    assert [row["file_name"] for row in rows] == [f"scenes/scene-{i:03d}.png" for i in range(256)]
    for row in rows:
        assert list(row) == ["file_name", "caption", *scenes.VALUES]
        assert scenes.parse(row["caption"]) == {name: row[name] for name in scenes.VALUES}
        with Image.open(demo / "images" / row["file_name"]) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", (112, 112))


def test_every_scene_has_a_caption_of_its_own_that_parses_back() -> None:
    everything = scenes.list_scenes()
    assert len({scenes.write_caption(scene) for scene in everything}) == len(everything) == 2304
    assert all(scenes.parse(scenes.write_caption(scene)) == scene for scene in everything)


def test_captions_read_as_english() -> None:
    scene = {
        "count": "two",
        "colour": "red",
        "size": "small",
        "shape": "cross",
        "position": "top",
        "background": "navy",
    }
    assert scenes.write_caption(scene) == "two small red crosses at the top of a navy background"
    assert scenes.write_caption({**scene, "count": "one", "position": "left"}) == (
        "one small red cross on the left of a navy background"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "two small red circle on the left of a navy background",  # number
        "one small red circles on the left of a navy background",
        "two small red circles at the left of a navy background",  # preposition
        "two red small circles on the left of a navy background",  # order
        "two small red circles on the left of a navy",
        "two small red circles on the left of a navy background background",
        "two small red circlees on the left of a navy background",
    ],
)
def test_what_is_not_a_caption_does_not_parse(text: str) -> None:
    assert scenes.parse(text) is None


def test_validation_attributes_are_never_drawn_in_training() -> None:
    held_out = {scenes.write_caption(scene) for scene in scenes.list_held_out_scenes()}
    assert len(held_out) == 256
    rng = random.Random(0)
    captions = {scenes.write_caption(scenes.draw_training_scene(rng)) for _ in range(30_000)}
    assert captions.isdisjoint(held_out)
    assert len(captions) == 2304 - 256  # and nothing else is held back


def test_validation_pixels_are_never_seen_in_training() -> None:
    validation = {pixels(image) for _, image in scenes.list_held_out()}
    assert len(validation) == 256
    rng = random.Random(0)  # the stream of the published training runs
    images = {pixels(scenes.draw(scenes.draw_training_scene(rng), rng)) for _ in range(5000)}
    assert images.isdisjoint(validation)


def bright(image: Image.Image) -> Image.Image:
    """The shapes' pixels: every shape colour has a channel above 130, no ground has."""
    red, green, blue = (channel.point(lambda value: 255 if value > 130 else 0) for channel in image.split())
    return ImageChops.lighter(ImageChops.lighter(red, green), blue)


def test_a_drawing_shows_what_its_caption_says() -> None:
    for i, scene in enumerate(scenes.list_scenes()[::7]):
        shapes = bright(scenes.draw(scene, random.Random(i)))
        box = shapes.getbbox()
        assert box is not None
        left, top, right, bottom = box
        x, y = (left + right) / 2, (top + bottom) / 2
        side = {"left": x < 40, "right": x > 72, "top": y < 40, "bottom": y > 72}
        assert side[scene["position"]], scene
        along = bottom - top if scene["position"] in ("left", "right") else right - left
        gaps = scenes.VALUES["count"].index(scene["count"])
        radius = (along - (36 if scene["size"] == "large" else 28) * gaps) / 2
        assert (radius > 12.5) == (scene["size"] == "large"), (scene, radius)
