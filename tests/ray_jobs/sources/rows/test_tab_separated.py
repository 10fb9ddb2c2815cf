"""CSV and TSV files as spreadsheets, pandas and plain scripts write them, through a manifest."""

import csv
import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from image_formats import list_refs

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.inputs.errors import InputError
from ray_jobs.sources.rows.tab_separated import read_tab_records

TRICKY = ['"stop" sign', "a\ttab", 'two\nlines, "so"', '"', '""', "plain", '"whole"', "it's", 'ends "so"', "", "x"]


def captions(path: Path, data: bytes) -> list[tuple[str, list[str]]]:
    path.write_bytes(data)
    return [(ref.image_id, ref.references) for ref in list_refs(Dataset(source=str(path), references="caption"))]


@pytest.mark.parametrize(
    "lines",
    [
        ['"stop" sign'], ['"stop sign'], ['a "stop" sign'], ['stop "'], ['"stop" sign', '"go" sign', "plain"],
        ['"stop sign', '"go sign'], ['say "a" and "b"', '"a" and "b"'], ["it's 5\" wide"], ['"open at the end'],
    ],
)  # fmt: skip
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_quotes_in_tsv_are_text(tmp_path: Path, lines: list[str], end: str) -> None:
    text = "file\tcaption" + end + "".join(f"{n}.png\t{line}{end}" for n, line in enumerate(lines))
    assert captions(tmp_path / "m.tsv", text.encode()) == [(f"{n}.png", [line]) for n, line in enumerate(lines)]


@pytest.mark.parametrize("writer", ["csv", "pandas"])
@pytest.mark.parametrize(("suffix", "sign"), [("tsv", "\t"), ("csv", ","), ("csv", ";"), ("csv", "|")])
def test_what_a_library_wrote_with_quotes_is_read_back(tmp_path: Path, writer: str, suffix: str, sign: str) -> None:
    rows = [{"file": f"{n}.png", "caption": text} for n, text in enumerate(TRICKY)]
    sink = io.StringIO()
    if writer == "csv":
        sheet = csv.DictWriter(sink, rows[0], delimiter=sign)
        sheet.writeheader()
        sheet.writerows(rows)
    else:
        pd.DataFrame(rows).to_csv(sink, sep=sign, index=False)
    references = captions(tmp_path / f"m.{suffix}", sink.getvalue().encode())
    assert references == [(row["file"], [row["caption"]] if row["caption"] else []) for row in rows]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("sep=;\r\nfile;caption\r\na.png;x, y\r\n", [("a.png", ["x, y"])]),
        ("\ufefffile;caption\r\na.png;\"x; y\"\r\n", [("a.png", ["x; y"])]),
        ("file\tcaption\na.png\tx\n", [("a.png", ["x"])]),
        ("file,caption\na.png,\"['x', 'y']\"\nb.png,\"[\"\"x\"\", \"\"y\"\"]\"\n", [("a.png", ["x", "y"]),
        ("b.png", ["x", "y"])]),
        ("file,caption\na.png,nan\nb.png,\n,,\n", None),
        ("file,caption\na.png,nan\nb.png,\n,\n", [("a.png", []), ("b.png", []), ("4", [])]),
    ],
    ids=["sep-line", "semicolon", "tab-in-csv", "lists", "one-column-more", "missing"],
)  # fmt: skip
def test_csv_of_spreadsheets_and_pandas(tmp_path: Path, data: str, expected: Any) -> None:
    if expected is None:
        with pytest.raises(InputError, match=r"line 4 has 3 columns where line 1 names 2"):
            captions(tmp_path / "m.csv", data.encode())
    else:
        assert captions(tmp_path / "m.csv", data.encode()) == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("file,caption\na.png,x\n".encode("utf-16"), "is UTF-16, as Excel's Unicode text is; save it as CSV UTF-8"),
        ("file,caption\na.png,tänch\n".encode("latin-1"), "line 2 is not UTF-8; save the file as UTF-8"),
        (b'file,caption\na.png,"x\n', "line 2: unexpected end of data; correct its quotes"),
        (b"a.png,A dog.\nb.png,A cat.\n", r"line 1 is a row \(a\.png\); write the columns' names above it"),
        (b"A dog.,https://host/x\n", r"line 1 is a row \(https://host/x\); write the columns' names above it"),
        (b"file;caption\na.png;x;y\n", "line 2 has 3 columns where line 1 names 2"),
    ],
    ids=["utf-16", "latin-1", "open-quote", "no-header", "no-header-but-a-url", "semicolons"],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=rf"dataset {tmp_path}/m\.csv: {message}"):
        captions(tmp_path / "m.csv", data)


def test_labels_that_pandas_wrote_with_gaps_are_those_without(tmp_path: Path) -> None:
    frame = pd.DataFrame({"file": ["a", "b", "c"], "kind": [3, None, 5]})
    frame.to_csv(tmp_path / "m.csv", index=False)
    assert (tmp_path / "m.csv").read_text().startswith("file,kind\na,3.0\n")
    assert [ref.label for ref in list_refs(Dataset(source=str(tmp_path / "m.csv"), label="kind"))] == ["3", None, "5"]


def test_a_multiline_cell_of_tsv_is_one_record_and_the_next_are_lines() -> None:
    lines = iter(["a\tb\n", 'x\t"one\n', 'two"\n', 'y\t"stop" sign\n', '"p\tq"\tr\n', 'z\t"so"\n'])
    assert list(read_tab_records(lines)) == [
        (["a", "b"], 1), (["x", "one\ntwo"], 3), (["y", '"stop" sign'], 4), (["p\tq", "r"], 5), (["z", "so"], 6),
    ]  # fmt: skip
    with pytest.raises(csv.Error, match="unexpected end of data"):
        list(read_tab_records(iter(["a\tb\n", 'x\t"one\n', "two\n"])))
