import pytest

from ray_jobs.inputs.errors import InputError
from ray_jobs.metrics import CaptionContext
from ray_jobs.metrics.builtin import language
from ray_jobs.metrics.text import language_detection


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A man riding a wave on top of a surfboard.", "en"),
        ("a small red circle left of a large blue square on black", "en"),
        ("Ein Hund läuft über die grüne Wiese und bellt", "de"),
        ("Un chien court dans l'herbe près de la maison", "fr"),
        ("一只狗在草地上奔跑，旁边有一个孩子", "zh"),
        ("Собака бежит по зелёной траве", "ru"),
    ],
)
def test_what_a_caption_is_written_in(text: str, expected: str) -> None:
    assert language_detection.detect_language(text) == expected
    assert language.measure(CaptionContext(text, 9, "stop", language=expected)) == 1
    assert language.measure(CaptionContext(text, 9, "stop", language="it")) == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "dog",
        "two dogs",
        "tench",
        "12345678901234567890",
        "🙂" * 30,
        "...",
        "\x00" * 40,
        "狗在跑",
        "zq xv wk jq",
    ],
)
def test_a_text_too_short_for_a_language_has_no_value(text: str) -> None:
    assert language_detection.detect_language(text) is None
    assert language.measure(CaptionContext(text, 9, "stop")) is None


def test_a_lone_surrogate_and_a_very_long_text_are_looked_at() -> None:
    assert language_detection.detect_language("the dog runs over the green meadow with its ball \ud800") == "en"
    assert language_detection.detect_language("the dog runs over the green meadow " * 10_000) == "en"


def test_an_unknown_language_is_refused() -> None:
    language_detection.check_language("en")
    with pytest.raises(InputError, match=r"metrics\.language 'xx': not told from others"):
        language_detection.check_language("xx")
