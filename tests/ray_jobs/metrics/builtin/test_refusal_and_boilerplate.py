"""Refusals and boilerplate are detected by the opening of a caption."""

from types import ModuleType

import pytest

from ray_jobs.metrics import CaptionContext
from ray_jobs.metrics.builtin import boilerplate, refusal


def opens(metric: ModuleType, text: str) -> bool:
    value: float = metric.measure(CaptionContext(text, 5, "stop"))
    assert value in (0.0, 1.0)
    return value == 1


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that request.",
        "I’m sorry, I cannot describe this image.",
        "Sorry, I can't help with that.",
        "I am sorry, but as an AI language model I cannot see images.",
        "As an AI, I do not have access to the image.",
        "As a language model, I can't see",
        "I cannot see any image.",
        "I can not provide a description",
        "I can't actually see the image",
        "I am unable to view images",
        "I'm unable to process that.",
        "I'm not able to identify people.",
        "I'm afraid I cannot comply",
        "Unfortunately, I am not able to view the picture.",
        "Unfortunately I can’t describe it",
        "My apologies, but I cannot",
        "I apologize, but there is no image",
        "I'm just an AI",
        "\n\n  \"I'm sorry, but I can't",
        "We are unable to provide a caption.",
        "I don't have access to images",
        "I won't describe this",
        "I'M SORRY, I CAN'T",
    ],
)
def test_refusals(text: str) -> None:
    assert opens(refusal, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A sign that says I'm sorry, I can't",
        "A dog that cannot see the ball",
        "I can see a dog",
        "As an airplane takes off, people wave",
        "Two people say sorry to each other",
        "An AI generated picture of a robot",
        "Island in the sea",
        "Sorrel and thyme in a pot",
        "I " * 4000,
        "\x00\x01",
    ],
)
def test_no_refusals(text: str) -> None:
    assert not opens(refusal, text)


@pytest.mark.parametrize(
    "text",
    [
        "The image shows a cat.",
        "This is a picture of two dogs",
        "In this image, a man rides a horse.",
        "The photo depicts",
        "This image features a bus",
        "A close-up photo of",
        "An image of a plane",
        "Here is a photo of a cat",
        "Sure, the image shows",
        "Image of a bird",
        "We can see a road",
        "THE PICTURE IS OF",
    ],
)
def test_boilerplate(text: str) -> None:
    assert opens(boilerplate, text)


@pytest.mark.parametrize(
    "text",
    ["", "A cat in the image of its mother", "In this imagery", "Picture frames on a wall", "A man takes a photo"],
)
def test_no_boilerplate(text: str) -> None:
    assert not opens(boilerplate, text)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", ["!", "i'm ", "sorry, ", "the ", " ", "I'm sorry but very so really "])
def test_a_hostile_text_is_not_searched_for_ever(text: str) -> None:
    for metric in (refusal, boilerplate):
        opens(metric, text * 50_000)
