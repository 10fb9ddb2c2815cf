"""The output of a Ray job in a task log stays bounded and readable, even if a line is endless or made to deceive."""

import pytest
from assay_airflow.triggers import log_lines
from assay_airflow.triggers.log_lines import MAX_LINE_CHARS, LogLines, format_line
from assay_airflow.triggers.ray_job import RayJobTrigger

MEGABYTE = "x" * 2**20


def cut_lines(pieces: list[str]) -> list[str]:
    cutter = LogLines()
    whole = [line for piece in pieces for line in cutter.add(piece)]
    return [*whole, cutter.take()]


@pytest.mark.parametrize("count", [1, 2, 64])
def test_a_line_without_an_end_is_cut_and_counted(count: int) -> None:
    (line,) = cut_lines([MEGABYTE] * count)
    assert line == f"{'x' * MAX_LINE_CHARS} ... ({count * 2**20 - MAX_LINE_CHARS} characters more)"


@pytest.mark.parametrize("size", [1, 7, 1000, 2**16])
def test_the_memory_for_a_line_without_an_end_is_bounded(size: int) -> None:
    cutter = LogLines()
    for _ in range(3 * MAX_LINE_CHARS // size + 3):
        assert list(cutter.add("x" * size)) == []
    assert sum(map(len, cutter._pieces)) <= MAX_LINE_CHARS
    assert len(cutter._pieces) <= MAX_LINE_CHARS


@pytest.mark.parametrize("length", [0, 1, MAX_LINE_CHARS - 1, MAX_LINE_CHARS])
def test_a_line_within_the_limit_and_the_next_one_are_whole(length: int) -> None:
    assert cut_lines(["y" * length, "\nnext\n"]) == ["y" * length, "next", ""]


def test_the_line_after_a_cut_one_is_whole() -> None:
    assert cut_lines([MEGABYTE, "tail\nnext\n"])[1] == "next"


def test_pieces_inside_of_lines_are_joined() -> None:
    assert cut_lines(["a", "b\nc", "", "d\n\n"]) == ["ab", "cd", "", ""]


@pytest.mark.parametrize(
    ("line", "shown_line"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[Hgone", "gone"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bMup", "up"),
        ("10%\r20%\r30%", "30%"),
        ("a\x00b", "a\\x00b"),
        ("a\x08\x08b", "a\\x08\\x08b"),
        ("bell\x07", "bell\\x07"),
        ("c1 \x9b31m", "c1 \\x9b31m"),
        ("vertical\x0btab\x0c", "vertical\\x0btab\\x0c"),
        ("next\x85line\u2028para\u2029", "next\\x85line\\u2028para\\u2029"),
        ("bidi \u202egnp.exe", "bidi \\u202egnp.exe"),
        ("hidden\u200btext\ufeff", "hidden\\u200btext\\ufeff"),
        ("half a pair \ud800", "half a pair \\ud800"),
        ("\ttab", "    tab"),
        ("\x1b", "\\x1b"),
        ("\x1b[", "\\x1b["),
        ("\x1b]0;never ended", "\\x1b]0;never ended"),
    ],
)
def test_control_characters_are_removed_or_shown(line: str, shown_line: str) -> None:
    assert format_line(line) == shown_line
    assert format_line(line).encode()


@pytest.mark.parametrize("line", ["\x1b[" * 20_000, "\x1b]" * 20_000, "\x1b[0;" * 15_000, "\x00" * MAX_LINE_CHARS])
def test_the_longest_odd_line_becomes_one_bounded_line(line: str) -> None:
    assert len(format_line(line)) <= 2 * MAX_LINE_CHARS
    assert "\n" not in format_line(line)


@pytest.mark.parametrize(("line_count", "character_count"), [(log_lines.MAX_LINES, 0), (0, log_lines.MAX_CHARS)])
def test_the_log_ends_after_too_many_lines_or_characters(line_count: int, character_count: int) -> None:
    trigger = RayJobTrigger("ray_default", "job-1", 0.0)
    assert not trigger._is_full()
    trigger._lines, trigger._characters = line_count, character_count
    assert trigger._is_full()
