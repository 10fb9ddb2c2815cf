import base64
import datetime
import math
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from image_formats import PICTURES

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.inputs.errors import InputError
from ray_jobs.sources.cells.columns import choose_columns
from ray_jobs.sources.cells.images import read_image
from ray_jobs.sources.cells.texts import CellFault
from ray_jobs.sources.cells.values import SEPARATOR, read_label, read_references

TWO = ["A dog.", "It's brown."]
ASKED = {"from": "human", "value": "<image>\nDescribe it."}
SAID = {"from": "gpt", "value": "A dog."}
PNG64 = base64.b64encode(PICTURES[0]).decode()


@pytest.mark.parametrize(
    ("cell", "references"),
    [
        ("A dog.", ["A dog."]), (" two\r\nlines ", [" two\r\nlines "]), ("", []), (" ", []), (None, []),
        (math.nan, []), (Decimal("nan"), []), ("nan", []), ("NaN", []), ("<NA>", []), (b"", []), ([], []), ("[]", []),
        (b"A d\xc3\xb6g.", ["A dög."]), ("\ufeffA dog.", ["A dog."]), (b"\xef\xbb\xbfA dog.", ["A dog."]),
        (memoryview(b"A dog."), ["A dog."]), ("A \u200bdog \u202e\U0001f415", ["A \u200bdog \u202e\U0001f415"]),
        ("lone \ud800", ["lone \\ud800"]), ("x" * 2_000_000, ["x" * 2_000_000]),
        (TWO, TWO), (tuple(TWO), TWO), (["A dog.", None, math.nan, "", b"It's brown.", "\ufeff"], TWO),
        ('["A dog.", "It\'s brown."]', TWO), ("['A dog.', \"It's brown.\"]", TWO), ("('A dog.', \"It's brown.\")", TWO),
        ("\ufeff ['A dog.',\n \"It's brown.\"]\n", TWO), (b'["A dog.", "It\'s brown."]', TWO),
        ("['A dog.', nan, None, \"It's brown.\"]", TWO), ('["A dog.", null, NaN, "It\'s brown."]', TWO),
        ("['nan is bread', nan]", ["nan is bread"]), (r"['quote \' and \\ \u00e9']", ["quote ' and \\ é"]),
        ("[not json", ["[not json"]), ("[a dog]", ["[a dog]"]), ("[Music] and [noise]", ["[Music] and [noise]"]),
        ("{a dog}", ["{a dog}"]), ("(a dog)", ["(a dog)"]), ("[10, 20.5, 30]", ["[10, 20.5, 30]"]), ("[", ["["]),
        ({"id": 0, "image_id": 7, "caption": "A dog."}, ["A dog."]),
        ([{"id": 0, "caption": "A dog."}, {"id": 1, "caption": "It's brown."}], TWO),
        ({"tokens": ["a", "dog"], "raw": "A dog.", "imgid": 0, "sentid": 3}, ["A dog."]),
        ({"sentids": [1], "raw": None, "text": "A dog."}, ["A dog."]), ({"id": "7", "captions": TWO}, TWO),
        ({"text": TWO, "answer_start": [1, 2]}, TWO), ({"en": "A dog."}, ["A dog."]), ({"caption": None, "id": 1}, []),
        ({"caption": None}, []), ({}, []), ({"a": None, "b": math.nan}, []),
        ("{'id': 0, 'caption': 'A dog.'}", ["A dog."]), ('[{"raw": "A dog."}, {"raw": "It\'s brown."}]', TWO),
        ([ASKED, SAID], ["A dog."]), ({"conversations": [ASKED, SAID]}, ["A dog."]),
        ([{"role": "user", "content": "?"}, {"role": "assistant", "content": "A dog."}], ["A dog."]),
        ([{"role": "assistant", "content": [{"type": "text", "text": "A dog."}]}], ["A dog."]),
        ('[{"from": "human", "value": "?"}, {"from": "gpt", "value": "A dog."}]', ["A dog."]),
    ],
)  # fmt: skip
def test_references(cell: Any, references: list[str]) -> None:
    assert read_references(cell) == references
    assert all(reference.encode() for reference in references)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (3, "a number (3); name a column of texts"), (0.5, "a number (0.5); "), (True, "a number (True); "),
        (["A dog.", 2], "a number (2); "), ([["A dog."], ["It's brown."]], "a list of 1 in a list; "),
        (datetime.datetime(2026, 1, 1), "a datetime; "),
        (b"t\xe4nch", "bytes that are no UTF-8 text; save it as UTF-8"),
        ("A dog.".encode("utf-16"), "bytes that are no UTF-8 text"), ("A dog.".encode("utf-16-le"), "null bytes in it"),
        ("['A dog.' \"It's brown.\"]", "a list written as text that cannot be read, ['A dog.' "),
        ("['A dog.'\n \"It's brown.\"]", "write it as JSON"), ("['a' 'b' ... 'z']", "['a' 'b' ... 'z'];"),
        ("['a', 'b', ..., 'z']", "cannot be read"), ("array(['a', 'b'], dtype=object)", "an array written as text"),
        ("['a', datetime.date(2026, 1, 1)]", "a list written as text"), ("['cut off]", "cannot be read"),
        ("[" * 200 + "'a'" + "]" * 200, "cannot be read"), ("['" + "x" * 2**20 + "']", "over 1048576"),
        ('["a"' + ',"a"' * 20 + ", 3]", "a number (3)"), ("{'A dog.', \"It's brown.\"}", "cannot be read"),
        ({"en": "A dog.", "de": "Ein Hund."}, "an object ({en, de}) without one obvious text; name a column of texts"),
        ({"id": "0001", "n": 3}, "an object ({id, n}) without one obvious text"),
        ({"caption": "A dog.", "text": "A cat."}, "an object ({caption, text}) without"),
        ({"caption": 3}, "a number (3) inside an object"),
        ({"caption": {"raw": "x"}}, "an object ({raw}) inside an object"),
        ({"a": "x", "b": "x", "c": 1, "d": 2, "e": 3}, "an object ({a, b, c, d, ...})"),
        ([{"id": 1}], "an object ({id}) without"), ("{'id': 1}", "an object ({id}) without"),
        ([ASKED], "a conversation with 0 answers, not one"), ([ASKED, SAID, ASKED, SAID], "with 2 answers"),
    ],
)  # fmt: skip
def test_what_is_no_reference_is_named(cell: Any, message: str) -> None:
    with pytest.raises(CellFault) as error:
        read_references(cell)
    assert message in str(error.value)
    assert len(str(error.value)) < 120
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("cell", "label"),
    [
        (3, "3"), (3.0, "3"), (3.5, "3.5"), (math.nan, None), (None, None), ("", None), (" cat ", "cat"),
        (b"7\n", "7"), (True, "True"), (0, "0"), (-1.0, "-1"), ("3.0", "3"), ("3.5", "3.5"), ("v3.0", "v3.0"),
        (Decimal("3.00"), "3"), (Decimal("3.50"), "3.5"),
        (Decimal("100"), "100"), ("nan", None), ("\ufeffcat", "cat"), ("[z", "[z"), ("[z]", "[z]"),
        ([0, 3], f"0{SEPARATOR}3"), ([3.0, math.nan], "3"), ([], None), ([None], None),
        (["cat", "dog"], f"cat{SEPARATOR}dog"),
        ("[0, 3]", f"0{SEPARATOR}3"), ("['cat', 'dog']", f"cat{SEPARATOR}dog"), ([7, 7, 3], f"7{SEPARATOR}3"),
        ([b"cat"], "cat"), ({"id": 3}, "3"), ({"id": 3, "name": "cat"}, "cat"), ({"label": 3.0}, "3"),
        ([{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}], f"cat{SEPARATOR}dog"), ({"name": None}, None),
        (f"a{SEPARATOR}b", "a b"), ([0, 1], f"0{SEPARATOR}1"),
    ],
)  # fmt: skip
def test_labels(cell: Any, label: str | None) -> None:
    assert read_label(cell) == label


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ({"id": 3, "n": 1}, "an object ({id, n}) without one obvious text; write the label as a text or number"),
        (datetime.datetime(2026, 1, 1), "a datetime; write it as a text or number"), ([[1], [2]], "a list of 1; "),
        ([0, 1, 0, 0, 1], "5 times 0 or 1, as if one-hot; write the ids"), (b"t\xe4nch", "no UTF-8 text"),
        ([0.1, 0.9], "a list of 2 numbers with decimals, as scores are; write the row"),
        ([True, False, False], "one-hot"), ([1.0, 0.0, 0.0], "one-hot"), ("['cat' 'dog']", "cannot be read"),
        ({"label": [[1], [2]]}, "a list of 1; "), ([{"id": 1, "n": 2}], "an object ({id, n}) without"),
        (Decimal("1e9999"), "a number (1E+9999)"),
    ],
)  # fmt: skip
def test_what_is_no_label_is_named(cell: Any, message: str) -> None:
    with pytest.raises(CellFault) as error:
        read_label(cell)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("cell", "image"),
    [
        (memoryview(b"x"), b"x"), ({"bytes": b"", "path": "/missing"}, b""), (PICTURES[0], PICTURES[0]),
        ({"bytes": None, "path": "/missing/x.png"}, "/missing/x.png"), (" a/b.png\n", "a/b.png"),
        ({"bytes": None, "path": None}, None), (None, None), (" ", None), (math.nan, None), ([], None), ([None], None),
        ([{"bytes": PICTURES[0], "path": "x"}], PICTURES[0]), (["a.jpg"], "a.jpg"), ([PICTURES[0]], PICTURES[0]),
        ("['a.jpg']", "a.jpg"), ('["a.jpg"]', "a.jpg"), ("[1].jpg", "[1].jpg"), ("[a]", "[a]"),
        ("\ufeffa.jpg", "a.jpg"),
        (PNG64, PICTURES[0]), (PNG64.rstrip("="), PICTURES[0]), (f"data:image/png;base64,{PNG64}", PICTURES[0]),
        (f"DATA:image/png;charset=x;BASE64,{PNG64}", PICTURES[0]), ("data:text/plain,a%20b", b"a b"),
        (base64.encodebytes(PICTURES[0]).decode(), PICTURES[0]),
        (base64.urlsafe_b64encode(PICTURES[0]).decode(), PICTURES[0]),
        (PNG64.encode(), PICTURES[0]), (f"data:;base64,{PNG64}".encode(), PICTURES[0]), (b"img/0.jpg", "img/0.jpg"),
        ({"bytes": PNG64}, PICTURES[0]), ({"url": "http://h/x"}, "http://h/x"), ({"image": ["a.jpg"]}, "a.jpg"),
        ({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG64}"}}, PICTURES[0]),
        ("{'bytes': b'x', 'path': None}", b"x"), ("a" * 100, "a" * 100), ("/9j/" + "a" * 100, "/9j/" + "a" * 100),
        ("Qk" + "a" * 100, "Qk" + "a" * 100), ("http://h/" + "x" * 9000, "http://h/" + "x" * 9000),
    ],
)  # fmt: skip
def test_images(cell: Any, image: bytes | str | None) -> None:
    assert read_image(cell) == image


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (3, "a number (3); write a path, a URL or the bytes of a file"),
        (["a.jpg", "b.jpg"], "2 images in one row; give each"),
        ("['a.jpg', 'b.jpg']", "2 images in one row"),
        ([[[0, 1], [2, 3]], [[4, 5], [6, 7]]], "a list of 2 numbers or lists"),
        ([255, 216, 255], "a list of 3 numbers or lists, as raw pixels; write the bytes of a PNG or JPEG file"),
        ({"height": 2, "width": 2, "nChannels": 3, "data": b"xx"}, "an object ({height, width, nChannels, data})"),
        ({"url": "a", "image": "b"}, "an object ({url, image}); "), (datetime.date(2026, 1, 1), "a date; "),
        ("b'\\xff\\xd8'", "bytes written out as Python text"),
        ("x" * 5000, "a text of 5000 characters, neither a path"),
        ("data:image/png;base64,@@@", "a data URL that is no base64"), ([[[[[["a"]]]]]], "nested too deep"),
        ("B" * 90_000_000, "90000000 characters"), ("iVBORw0KGgo" + "A" * 90_000_000, "over 67108864 bytes in base64"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_an_invalid_image_cell_is_named_and_shown_shortened(cell: Any, message: str) -> None:
    with pytest.raises(CellFault) as error:
        read_image(cell)
    assert message in str(error.value)
    assert len(str(error.value)) < 120


STRUCT = pa.struct({"bytes": pa.binary(), "path": pa.string()})


@pytest.mark.parametrize(
    ("fields", "image", "places"),
    [
        ({"x": pa.binary(), "label": pa.int64()}, "x", False),
        ({"embedding": pa.binary(), "IMG": pa.large_binary()}, "IMG", False),
        ({"jpg": STRUCT, "mask": pa.binary(), "url": pa.string()}, "jpg", False),
        ({"photo": pa.binary(), "image": STRUCT}, "image", False),
        ({"URL": pa.string(), "TEXT": pa.string(), "path": pa.string()}, "path", True),
        ({"image": pa.struct({"a": pa.binary()}), "file": pa.large_string()}, "file", True),
    ],
)
def test_the_image_column_is_found(fields: dict[str, Any], image: str, places: bool) -> None:
    columns = choose_columns(Dataset(source="x"), "x", pa.schema(fields))
    assert (columns.image, columns.places) == (image, places)


@pytest.mark.parametrize("fields", [{"a": pa.binary(), "b": STRUCT}, {"caption": pa.string(), "n": pa.int64()}])
def test_ambiguous_columns_are_listed(fields: dict[str, Any]) -> None:
    first, second = fields
    with pytest.raises(InputError, match=rf"cannot tell .* {first} \(.*, {second} \(.*; set `dataset\.image`"):
        choose_columns(Dataset(source="x"), "x", pa.schema(fields))
    assert choose_columns(Dataset(source="x", image=second), "x", pa.schema(fields)).image == second
