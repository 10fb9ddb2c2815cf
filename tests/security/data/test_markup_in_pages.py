"""Text of others stays text in every page: 24 payloads in each field of the report and of the rejects' page."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from report_case import ReportCase, make_comparison
from samples import draw_picture, encode_image
from stored_runs import CaptionResult, Image

from ray_jobs.golden import previews
from ray_jobs.golden.build_part import SCHEMA
from ray_jobs.storage import objects, parts

PAYLOADS = {
    "script": "<script>document.title='owned'</script>",
    "script in capitals": "<ScRiPt/x>owned()</sCrIpT>",
    "image": "<img src=x onerror=owned()>",
    "drawing": "<svg/onload=owned()>",
    "frame": "<iframe srcdoc='<script>owned()</script>'></iframe>",
    "form": "<form action=https://x.example><input name=p></form>",
    "base": "<base href=https://x.example/>",
    "refresh": '<meta http-equiv="refresh" content="0;url=https://x.example">',
    "stylesheet": "<link rel=stylesheet href=https://x.example/a.css>",
    "end of style": "</style></title><script>owned()</script>",
    "end of everything": "</bdi></td></tr></table></html><script>owned()</script>",
    "attribute": '" onmouseover="owned()" x="',
    "attribute, single": "' onmouseover='owned()' x='",
    "attribute, back tick": "` onmouseover=owned() `",
    "address": "javascript:owned()",
    "template": "{{ 7 * 7 }}{% raw %}${7*7}",
    "entity": "&lt;script&gt;&#x202e;&#60;script&#62;",
    "comment": "<!-- --!> <script>owned()</script>",
    "cdata": "<![CDATA[<script>owned()</script>]]>",
    "reversed": "\u202egpj.exe\u2066\u2069",
    "isolates": "\u2066\u2067\u2068a\u200e\u200f",
    "controls": "bell\x07nul\x00escape\x1b[31m\x9b\x85",
    "separators": "a\u2028b\u2029c\ufeff\u00ad",
    "tags": "a\U000e0041\U000e0042\ufffe\uffff",
}
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200e\u200f\u2028\u2029\ufeff\ufffe\uffff]")
HARMFUL = {"script", "iframe", "object", "embed", "form", "base", "input"}
ADDRESS = re.compile(
    r"data:image/jpeg;base64,|#|(\.\./)+[A-Za-z0-9_./-]+$", re.ASCII
)  # the last: a file below the root
ICON = re.compile(r"data:image/svg\+xml,%3Csvg [a-zA-Z0-9 =':/.%]+%3C/svg%3E")  # the report's own square
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def check(page: str, payload: str) -> None:
    tags = Tags(page).tags
    assert not {tag for tag, _ in tags} & HARMFUL
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    icons = [attributes for tag, attributes in tags if tag == "link"]
    assert all(ICON.fullmatch(icon["href"] or "") and icon["rel"] == "icon" for icon in icons)
    names = ("src", "href", "xlink:href")
    addresses = [
        attributes[name] or "" for tag, attributes in tags if tag != "link" for name in names if name in attributes
    ]
    assert all(ADDRESS.match(address) for address in addresses), addresses
    policies = [attributes.get("content") for tag, attributes in tags if tag == "meta" and "http-equiv" in attributes]
    assert policies == [POLICY]
    assert not UNSEEN.search(page)
    assert not any("\U000e0000" <= letter <= "\U000e007f" for letter in page)


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS.keys())
def test_the_report(tmp_path: Path, payload: str) -> None:
    pictures = [Image(f"{number} {payload}", [payload, payload], payload) for number in range(3)]
    values = {"chrf": 10.0}
    new = [CaptionResult(payload, values, rationale=payload), CaptionResult(None, {}, failure=payload, detail=payload)]
    new.append(CaptionResult("x", values, failure=payload, rationale=payload))
    old = [CaptionResult(payload[::-1], {"chrf": 90.0}, rationale=payload)] * 3
    fields: dict[str, Any] = {
        "reason": payload,
        "called": payload,
        "judge": {payload: {payload: payload}, "x": payload},
        "details": {payload: {payload: 0.5}, "list": [{payload: payload}]},
        "comparisons": [make_comparison("chrf", method=payload)],
        "rejected": {payload: 2},
    }
    check(ReportCase(tmp_path, pictures, new, old, **fields).html, payload)


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS.keys())
def test_the_rejects(tmp_path: Path, payload: str) -> None:
    store = str(tmp_path)
    row = {"image_id": payload, "reason": payload, "detail": payload, "thumbnail": None}
    image = dict.fromkeys(SCHEMA.names) | {"image_id": "a", "image": encode_image(draw_picture(0))}
    table = pa.Table.from_pylist([image], schema=SCHEMA)
    part = parts.write(store, "part-00000", table, {"lost": {payload: 1}, "rejects": [row]})
    previews.write_rejects(store, payload, [part], {payload: 1})
    check(objects.read(f"{store}/rejects.html").decode(), payload)
