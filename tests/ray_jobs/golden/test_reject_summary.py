from pathlib import Path

import pytest

from ray_jobs.golden import reject_summary
from ray_jobs.golden.reject_summary import describe_rejects, shorten, summarise

BYTES = "iVBORw0KGgo" * 1000


@pytest.mark.parametrize(
    ("rejects", "expected"),
    [
        ([], ""),
        ([("a.png", "empty", "")], "the first, a.png: empty"),
        ([("a.png", "truncated", "ends early")], "the first, a.png: ends early"),
        ([("3", "x", "its image: 2 images in one row")] * 3, "the first, 3: its image: 2 images in one row"),
        ([("a", "x", "/p/a: no such file"), ("b", "x", "/p/b: no such file")], "the first, a: /p/a: no such file"),
        ([("a", "x", "over 10 s"), ("b", "x", "over 20 s")], "the first, a: over 10 s"),
        (
            [("a", "x", "ends early"), ("b", "x", "/p/b: gone"), ("c", "x", "/p/c: gone")],
            "the first, a: ends early; 2 times: /p/b: gone",
        ),
        ([("\u202ea\nb", "x", "two\nlines \x1b[0m")], r"the first, \u202ea\x0ab: two lines \x1b[0m"),
        ([(BYTES, "x", BYTES)], f"the first, {BYTES[:97]}...: {BYTES[:97]}..."),
    ],
    ids=lambda value: str(value)[:40],
)
def test_the_first_reject_and_the_commonest_cause(rejects: list[tuple[str, str, str]], expected: str) -> None:
    assert summarise(rejects) == expected


def test_a_long_place_gives_way_to_the_cause() -> None:
    text = shorten(f"/data/{'x' * 300}.png: no such file")
    assert text.endswith("...: no such file")
    assert text.startswith("/data/xxx")
    assert len(text) == 100
    assert shorten(f"/data/a.png: {'why ' * 100}") == f"{('why ' * 100)[:97]}..."


def test_without_a_rejects_file_nothing_is_reported(tmp_path: Path) -> None:
    assert describe_rejects(str(tmp_path)) == ""
    (tmp_path / "rejects.parquet").write_bytes(b"cut off")
    assert describe_rejects(str(tmp_path)) == ""


def test_the_number_of_causes_in_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reject_summary, "MAX_CAUSES", 2)
    causes = ["a pipe", "no file", "a link", "a link", "a link", "no file"]
    line = summarise((f"{number}.png", "unreadable-source", cause) for number, cause in enumerate(causes))
    assert line == "the first, 0.png: a pipe; 2 times: no file"
