from pathlib import Path

import pytest

from ray_jobs.golden import reject_summary
from ray_jobs.golden.reject_summary import describe_rejects, shorten, summarise

BYTES = "iVBORw0KGgo" * 1000


@pytest.mark.parametrize(
    ("rejects", "told"),
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
def test_the_first_reject_and_the_commonest_cause(rejects: list[tuple[str, str, str]], told: str) -> None:
    assert summarise(rejects) == told


def test_a_long_place_gives_way_to_the_cause() -> None:
    shown = shorten(f"/data/{'x' * 300}.png: no such file")
    assert shown.endswith("...: no such file")
    assert shown.startswith("/data/xxx")
    assert len(shown) == 100
    assert shorten(f"/data/a.png: {'why ' * 100}") == f"{('why ' * 100)[:97]}..."


def test_where_no_rejects_were_written_nothing_is_told(tmp_path: Path) -> None:
    assert describe_rejects(str(tmp_path)) == ""
    (tmp_path / "rejects.parquet").write_bytes(b"cut off")
    assert describe_rejects(str(tmp_path)) == ""


def test_no_more_causes_are_kept_than_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reject_summary, "MOST_CAUSES", 2)
    causes = ["a pipe", "no file", "a link", "a link", "a link", "no file"]
    line = summarise((f"{number}.png", "unreadable-source", cause) for number, cause in enumerate(causes))
    assert line == "the first, 0.png: a pipe; 2 times: no file"
