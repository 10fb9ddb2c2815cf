import pytest

from ray_jobs.contract.ids import name_of, slug


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("step-300", "step-300"),
        ("a b//c", "a-b-c"),
        ("--", "unnamed"),
        ("..", "unnamed"),
        ("a--b", "a-b"),
        ("é", "unnamed"),
    ],
)
def test_a_slug_is_safe_in_a_path_and_holds_no_double_dash(text: str, expected: str) -> None:
    assert slug(text) == expected


def test_the_name_at_a_uri_is_its_last_component() -> None:
    assert name_of("s3://b/models/step-300/") == "step-300"
    assert name_of("/a/b") == "b"
